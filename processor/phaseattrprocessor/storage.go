// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/checkpoint"
)

// newStore returns the store that keeps the index of a component ID.
func newStore(s *state, id component.ID) *checkpoint.Store {
	warnings := map[checkpoint.Operation]*rate.Sometimes{}
	for _, op := range []checkpoint.Operation{checkpoint.Open, checkpoint.Write, checkpoint.Read} {
		warnings[op] = &rate.Sometimes{First: 1, Interval: warnEvery}
	}
	return checkpoint.New(checkpoint.Options{
		Open: func(ctx context.Context, name string) (storage.Client, error) {
			return s.storage.GetClient(ctx, component.KindProcessor, id, name)
		},
		Index: s.index,
		Register: func(group boundary.RankKey, in *checkpoint.Registration) {
			s.introduce(group, in)
		},
		Forget: func(group boundary.RankKey) {
			s.index.Forget(group)
			s.association.Remove(group, s.index.Has)
		},
		Failed: func(ctx context.Context, op checkpoint.Operation, times int, err error) {
			s.telemetry.ProcessorPhaseAttrStorageFailures.Add(ctx, int64(times),
				metric.WithAttributeSet(attribute.NewSet(attribute.String("operation", string(op)))))
			warnings[op].Do(func() {
				s.logger.Error("The storage of the phases failed; telemetry goes on, and it is tried again. "+
					"The next minute's failures are only counted, in processor_phase_attr_storage_failures.",
					zap.Stringer("storage", s.config.Storage), zap.String("operation", string(op)), zap.Error(err))
			})
		},
	})
}

// findStorage looks for the storage extension, if one is configured.
func (s *state) findStorage(host component.Host) error {
	id := s.config.Storage
	if id == nil {
		return nil
	}
	extension, ok := host.GetExtensions()[*id]
	if !ok {
		return fmt.Errorf("storage: there is no extension %q in the service", id)
	}
	if s.storage, ok = extension.(storage.Extension); !ok {
		return fmt.Errorf("storage: the extension %q is no storage", id)
	}
	return nil
}

// restore puts back what is stored, but for what is over by now.
func (s *state) restore(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	begin := time.Now()
	if err := s.store.Start(ctx); err != nil {
		return fmt.Errorf("storage: the extension %q cannot be used: %w", s.config.Storage, err)
	}
	s.sweepOnce(ctx)
	stats := s.index.Stats()
	s.logger.Info("Phases restored", zap.Int("groups", stats.Ranks), zap.Int64("boundaries", stats.Boundaries),
		zap.Int64("open_scopes", stats.OpenScopes), zap.Duration("took", time.Since(begin)))
	return nil
}
