// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"slices"
	"testing"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/noop"
)

// pair is the allocations that a phase may cost: its context and its handle.
const pair = 2

func TestAllocationsWithoutRecords(t *testing.T) {
	rec := New(WithLoggerProvider(noop.NewLoggerProvider()))
	ctx, step := rec.Enter(t.Context(), "step")
	got := testing.AllocsPerRun(1000, func() {
		_, phase := rec.Enter(ctx, "forward")
		if err := phase.Close(); err != nil {
			t.Error(err)
		}
	})
	if got > pair {
		t.Errorf("%v allocations, want at most %d", got, pair)
	}
	if err := step.Close(); err != nil {
		t.Error(err)
	}
}

// TestAllocationsBesideRecords compares a phase with no more than its two records.
func TestAllocationsBesideRecords(t *testing.T) {
	tests := []struct {
		name  string
		attrs []log.KeyValue
	}{
		{name: "without attributes"},
		{name: "with attributes", attrs: []log.KeyValue{log.Int("epoch", 1), log.Int("step", 7)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := New(WithLoggerProvider(provider{logger: discard{}}))
			ctx, step := rec.Enter(t.Context(), "step")
			whole := testing.AllocsPerRun(1000, func() {
				_, phase := rec.Enter(ctx, "forward", tt.attrs...)
				if err := phase.Close(); err != nil {
					t.Error(err)
				}
			})
			scope := &Handle{recorder: rec, lane: step.lane, parent: step, name: "forward", number: 1 << 40}
			records := testing.AllocsPerRun(1000, func() {
				scope.attrs = slices.Clone(tt.attrs)
				scope.described = description{}
				scope.described = scope.describe()
				for _, action := range [...]string{actionEnter, actionExit} {
					record := rec.boundaryRecord(&boundary{scope: scope, action: action})
					rec.logger.Emit(step.ctx, record)
				}
			})
			if whole-records > pair {
				t.Errorf("%v allocations and %v of the records, want at most %d more", whole, records, pair)
			}
			t.Logf("%v allocations, %v of them the records'", whole, records)
		})
	}
}

func BenchmarkPair(b *testing.B) {
	for _, bb := range []struct {
		name     string
		provider log.LoggerProvider
	}{
		{"no-op", noop.NewLoggerProvider()},
		{"discarded records", provider{logger: discard{}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			rec := New(WithLoggerProvider(bb.provider))
			ctx, _ := rec.Enter(b.Context(), "step")
			b.ReportAllocs()
			for b.Loop() {
				_, phase := rec.Enter(ctx, "forward")
				if err := phase.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
