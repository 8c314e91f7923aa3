// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

const (
	ledgerName = "generations"
	ledgerKey  = "generation"
	// maxAttempts is how often in a row a generation may fail to open, or end the process,
	// before it is abandoned. A process that is killed at that moment counts too.
	maxAttempts = 5
)

// errAbandoned means that the next generation is in use from now on.
var errAbandoned = errors.New("the stored phases are left alone and a new generation begins")

// ledger records which generation of the storage is in use, in a storage of its own. A
// storage with a damaged file may fail, or end the process, each time it is opened: after
// maxAttempts the next generation begins, empty.
type ledger struct {
	client storage.Client // nil while it is closed
	// generation is the number of the one in use, attempts how often in a row it has failed
	// to open.
	generation, attempts uint64
}

// read opens and reads the ledger, unless that has been done.
func (l *ledger) read(ctx context.Context, open openFunc) error {
	if l.client != nil {
		return nil
	}
	client, err := open(ctx, ledgerName)
	if err != nil {
		return err
	}
	record, err := client.Get(ctx, ledgerKey)
	if err != nil {
		return errors.Join(err, client.Close(context.WithoutCancel(ctx)))
	}
	l.client = client
	// One that cannot be read is as good as none.
	if _, payload, err := unseal(ledgerKey, record); err == nil && len(payload) == 16 {
		l.generation, l.attempts = binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
	}
	return nil
}

func (l *ledger) write(ctx context.Context, generation, attempts uint64) error {
	record := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(unsealed(), generation), attempts)
	record = seal(ledgerKey, record)
	record[0] = version2 // every version has the same ledger, and can read that of the others
	err := l.client.Set(ctx, ledgerKey, record)
	if err == nil {
		l.generation, l.attempts = generation, attempts
	}
	return err
}

// open opens the generation in use and returns all that it holds. It counts as a failed
// attempt until the caller writes otherwise, unless it takes too long: a process that can
// say so has survived.
func (l *ledger) open(ctx context.Context, open openFunc) (storage.Client, map[string][]byte, error) {
	if l.attempts >= maxAttempts {
		return nil, nil, l.abandon(ctx, fmt.Errorf("failed to open generation %d %d times", l.generation, l.attempts))
	}
	before := l.attempts
	_ = l.write(ctx, l.generation, before+1) // without a ledger, nothing is counted
	client, err := open(ctx, fmt.Sprintf("generation_%d", l.generation))
	var stored map[string][]byte
	if err == nil {
		if stored, err = readAll(ctx, client); err == nil && isNewer(stored) {
			err = l.abandon(ctx, errVersion)
		}
		if err != nil {
			err = errors.Join(err, client.Close(context.WithoutCancel(ctx)))
		}
	}
	if ctx.Err() != nil {
		l.attempts = before
	}
	return client, stored, err
}

func readAll(ctx context.Context, client storage.Client) (map[string][]byte, error) {
	walker, ok := client.(storage.Walker)
	if !ok {
		return nil, errNoWalk
	}
	all := map[string][]byte{}
	err := walker.Walk(ctx, func(key string, value []byte) ([]*storage.Operation, error) {
		all[strings.Clone(key)] = bytes.Clone(value)
		return nil, nil
	})
	return all, err
}

// abandon begins the next generation. It returns cause as the reason.
func (l *ledger) abandon(ctx context.Context, cause error) error {
	if err := l.write(ctx, l.generation+1, 0); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errAbandoned, cause)
}
