// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

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
	client *client
	// generation is the number of the one in use, attempts how often in a row it has failed
	// to open.
	generation, attempts uint64
}

func openLedger(ctx context.Context, calls *calls, open openFunc) (*ledger, error) {
	client, err := calls.open(ctx, open, ledgerName)
	if err != nil {
		return nil, err
	}
	record := storage.GetOperation(ledgerKey)
	if err := client.batch(ctx, record); err != nil {
		return nil, errors.Join(err, client.close(ctx))
	}
	l := &ledger{client: client}
	// One that cannot be read is as good as none.
	if _, payload, err := unseal(ledgerKey, record.Value); err == nil && len(payload) == 16 {
		l.generation, l.attempts = binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
	}
	return l, nil
}

func (l *ledger) write(ctx context.Context, generation, attempts uint64) error {
	record := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(unsealed(), generation), attempts)
	record = seal(ledgerKey, record)
	record[0] = version2 // every version has the same ledger, and can read that of the others
	err := l.client.batch(ctx, storage.SetOperation(ledgerKey, record))
	if err == nil {
		l.generation, l.attempts = generation, attempts
	}
	return err
}

// open opens the generation in use and returns all that it holds. It counts as a failed
// attempt until the caller writes otherwise, unless it takes too long: a process that can
// say so has survived.
func (l *ledger) open(ctx context.Context, open openFunc) (*client, map[string][]byte, error) {
	if l.attempts >= maxAttempts {
		return nil, nil, l.abandon(ctx, fmt.Errorf("failed to open generation %d %d times", l.generation, l.attempts))
	}
	before := l.attempts
	_ = l.write(ctx, l.generation, before+1) // without a ledger, nothing is counted
	client, err := l.client.calls.open(ctx, open, fmt.Sprintf("generation_%d", l.generation))
	var stored map[string][]byte
	if err == nil {
		stored, err = client.readAll(ctx)
	}
	if err == nil && isNewer(stored) {
		err = l.abandon(ctx, errVersion)
	}
	if errors.Is(err, errHung) {
		l.attempts = before
	}
	if err != nil {
		return nil, nil, errors.Join(err, client.close(ctx))
	}
	return client, stored, nil
}

// abandon begins the next generation. It returns cause as the reason.
func (l *ledger) abandon(ctx context.Context, cause error) error {
	if err := l.write(ctx, l.generation+1, 0); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errAbandoned, cause)
}
