// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// disk is the directory of a storage extension: it outlives the stores that use it.
type disk struct {
	mu    sync.Mutex
	files map[string]map[string][]byte
	// open is the number of clients that have not been closed.
	open int
	// fails makes all calls fail, full those that write.
	fails, full bool
	// hang, unless nil, has the calls that it returns true for block until release is
	// closed, whatever their context says.
	hang    func(call, file string) bool
	release chan struct{}
}

func newDisk() *disk { return &disk{files: map[string]map[string][]byte{}} }

// left returns the disk as a process leaves it that is killed now.
func (d *disk) left() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := newDisk()
	for name, file := range d.files {
		left.files[name] = maps.Clone(file)
	}
	return left
}

// setFails sets whether all calls fail, or none.
func (d *disk) setFails(fails bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails, d.full = fails, false
}

// block makes calls hang until the function that it returns is called. It may be called
// again before that: each function releases the calls since.
func (d *disk) block(hang func(call, file string) bool) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	released := make(chan struct{})
	d.hang, d.release = hang, released
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.release == released {
			d.hang = nil
		}
		close(released)
	}
}

// clients returns the number of open clients.
func (d *disk) clients() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// enter begins a call; it returns with mu held.
func (d *disk) enter(call, file string) {
	d.mu.Lock()
	if d.hang != nil && d.hang(call, file) {
		release := d.release
		d.mu.Unlock()
		<-release
		d.mu.Lock()
	}
}

func (d *disk) getClient(_ context.Context, name string) (storage.Client, error) {
	d.enter("open", name)
	defer d.mu.Unlock()
	if d.files[name] == nil {
		d.files[name] = map[string][]byte{}
	}
	d.open++
	return &file{d, name, d.files[name]}, nil
}

// records returns the entries of all generations under a prefix.
func (d *disk) records(prefix string) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := map[string][]byte{}
	for name, file := range d.files {
		for key, value := range file {
			if name != ledgerName && strings.HasPrefix(key, prefix) {
				found[key] = value
			}
		}
	}
	return found
}

// file is a storage client on a disk.
type file struct {
	disk    *disk
	name    string
	entries map[string][]byte
}

var errDisk = errors.New("disk failure")

func (f *file) Get(ctx context.Context, key string) ([]byte, error) {
	op := storage.GetOperation(key)
	err := f.Batch(ctx, op)
	return op.Value, err
}

func (f *file) Set(ctx context.Context, key string, value []byte) error {
	return f.Batch(ctx, storage.SetOperation(key, value))
}

func (f *file) Delete(ctx context.Context, key string) error {
	return f.Batch(ctx, storage.DeleteOperation(key))
}

func (f *file) Batch(_ context.Context, ops ...*storage.Operation) error {
	f.disk.enter("batch", f.name)
	defer f.disk.mu.Unlock()
	if f.disk.fails {
		return errDisk
	}
	for _, op := range ops {
		if f.disk.full && op.Type != storage.Get {
			return errDisk
		}
		switch op.Type {
		case storage.Get:
			op.Value = bytes.Clone(f.entries[op.Key])
		case storage.Set:
			f.entries[op.Key] = bytes.Clone(op.Value)
		case storage.Delete:
			delete(f.entries, op.Key)
		}
	}
	return nil
}

func (f *file) Walk(_ context.Context, fn storage.WalkFunc) error {
	f.disk.enter("walk", f.name)
	defer f.disk.mu.Unlock()
	if f.disk.fails {
		return errDisk
	}
	for key, value := range f.entries {
		if _, err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) Close(context.Context) error {
	f.disk.enter("close", f.name)
	defer f.disk.mu.Unlock()
	f.disk.open--
	return nil
}
