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
	// strikes is how many processes in a row may die while they open a generation
	// before it is given up. One that is killed by chance just then is none of them.
	strikes = 3
)

// ledger knows which generation of the storage is in use, in a storage of its own. A
// storage whose file is damaged may panic, or take the process with it when it is
// opened, again and again: the next generation then begins empty.
type ledger struct {
	client storage.Client
	// number is the generation's, deaths how many processes in a row died opening it.
	number, deaths uint64
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
		if l.client != nil && !errors.Is(err, errPanic) {
			err = errors.Join(err, guard(func() error { return l.client.Close(ctx) }))
		}
		return nil, err
	}
	// One that cannot be read says nothing.
	if payload, err := unseal(ledgerKey, entry); err == nil && len(payload) == 16 {
		l.number, l.deaths = binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
	}
	return l, nil
}

func (l *ledger) write(ctx context.Context, number, deaths uint64) error {
	l.number, l.deaths = number, deaths
	entry := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, number), deaths)
	return guard(func() error { return l.client.Set(ctx, ledgerKey, seal(ledgerKey, entry)) })
}

// open opens the generation in use. The error says so when that cannot be survived.
func (l *ledger) open(ctx context.Context, open opener) (client storage.Client, err error) {
	if l.deaths >= strikes {
		return nil, fmt.Errorf("%w: %d processes in a row died opening generation %d", errPanic, l.deaths, l.number)
	}
	err = l.write(ctx, l.number, l.deaths+1)
	if err != nil {
		return nil, err
	}
	err = guard(func() (err error) {
		client, err = open(ctx, fmt.Sprintf("generation_%d", l.number))
		return err
	})
	if errors.Is(err, errPanic) {
		return nil, err
	}
	return client, errors.Join(err, l.write(ctx, l.number, 0))
}

// next goes on to the next generation.
func (l *ledger) next(ctx context.Context) error { return l.write(ctx, l.number+1, 0) }
