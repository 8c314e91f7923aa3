// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// disk is a storage extension's directory: it outlives the stores that use it.
type disk struct {
	mu    sync.Mutex
	files map[string]map[string][]byte
	// fails and panics say what the next calls do.
	fails, panics bool
}

func newDisk() *disk { return &disk{files: map[string]map[string][]byte{}} }

// left is what a killed process leaves.
func (d *disk) left() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := newDisk()
	for name, file := range d.files {
		left.files[name] = maps.Clone(file)
	}
	return left
}

func (d *disk) set(fails, panics bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails, d.panics = fails, panics
}

func (d *disk) open(_ context.Context, name string) (storage.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		d.files[name] = map[string][]byte{}
	}
	return &file{d, d.files[name]}, nil
}

// file is a storage client on a disk.
type file struct {
	disk    *disk
	entries map[string][]byte
}

var errDisk = errors.New("disk full")

func (f *file) check() error {
	switch {
	case f.disk.panics:
		panic("page 7: unexpected")
	case f.disk.fails:
		return errDisk
	}
	return nil
}

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
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	for _, op := range ops {
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
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	for key, value := range f.entries {
		if _, err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (*file) Close(context.Context) error { return nil }
