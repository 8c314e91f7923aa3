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
	// maxAttempts is how often in a row a generation may fail to be opened, or end the
	// process, before it is given up. A process that is killed just then counts too.
	maxAttempts = 5
)

// ledger knows which generation of the storage is in use, in a storage of its own. A
// storage whose file is damaged may fail, panic, or take the process with it when it is
// opened, again and again: the next generation then begins empty.
type ledger struct {
	client storage.Client
	// number is the generation's, attempts how often in a row it has not been opened.
	number, attempts uint64
}

// storage is the ledger's own; nil when it is not open.
func (l *ledger) storage() storage.Client {
	if l == nil {
		return nil
	}
	return l.client
}

// openLedger opens the ledger.
func openLedger(ctx context.Context, open opener) (*ledger, error) {
	l := &ledger{}
	var entry []byte
	err := guard(func() (err error) {
		if l.client, err = open(ctx, ledgerName); err != nil {
			return err
		}
		entry, err = l.client.Get(ctx, ledgerKey)
		return err
	})
	if err != nil {
		if l.client != nil && !errors.Is(err, errSpoiled) {
			err = errors.Join(err, guard(func() error { return l.client.Close(ctx) }))
		}
		return nil, err
	}
	// One that cannot be read says nothing.
	if payload, err := unseal(ledgerKey, entry); err == nil && len(payload) == 16 {
		l.number, l.attempts = binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
	}
	return l, nil
}

func (l *ledger) write(ctx context.Context, number, attempts uint64) error {
	entry := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(unsealed(), number), attempts)
	err := guard(func() error { return l.client.Set(ctx, ledgerKey, seal(ledgerKey, entry)) })
	if err == nil {
		l.number, l.attempts = number, attempts
	}
	return err
}

// open opens the generation in use. The error says so when that cannot be survived.
// Until proven is called, it is one more attempt that has failed.
func (l *ledger) open(ctx context.Context, open opener) (client storage.Client, err error) {
	if l.attempts >= maxAttempts {
		return nil, fmt.Errorf("%w: generation %d cannot be opened", errSpoiled, l.number)
	}
	// A ledger that cannot be written now counts nothing.
	if err = l.write(ctx, l.number, l.attempts+1); errors.Is(err, errSpoiled) {
		return nil, err
	}
	err = guard(func() (err error) {
		client, err = open(ctx, fmt.Sprintf("generation_%d", l.number))
		return err
	})
	return client, err
}

// proven takes note that the generation in use can be read and written.
func (l *ledger) proven(ctx context.Context) error { return l.write(ctx, l.number, 0) }

// next goes on to the next generation.
func (l *ledger) next(ctx context.Context) error { return l.write(ctx, l.number+1, 0) }
