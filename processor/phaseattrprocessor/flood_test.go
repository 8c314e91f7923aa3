// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const (
	floodMemory  = 128 << 20
	floodBatches = 20
)

// floodLimits are a tenth of the defaults: a flood that exceeds them by far is sent soon.
func floodLimits(cfg *Config) {
	cfg.Limits.MaxRanks /= 10
	cfg.Limits.MaxBoundariesPerRank /= 10
	cfg.Limits.MaxBoundaries /= 10
}

// floods are hostile streams: each gives the record number i of a session of its own.
var floods = map[string]struct {
	records int
	session func(i int) string
	record  func(i int, scope pcommon.Map)
}{
	"a session per record": {
		records: 40_000,
		session: func(i int) string { return fmt.Sprint("session-", i) },
		record:  func(int, pcommon.Map) {},
	},
	"a thread per record": {
		records: 20_000,
		record:  func(i int, scope pcommon.Map) { scope.PutInt("thread_id", int64(i)) },
	},
	"endless enters": {
		records: 20_000,
		record: func(i int, scope pcommon.Map) {
			scope.PutStr("scope_id", strconv.Itoa(i))
			scope.PutStr("parent_scope_id", strconv.Itoa(i-1))
		},
	},
	"a path of its own per record": {
		records: 20_000,
		record: func(i int, scope pcommon.Map) {
			scope.PutEmptySlice("path").AppendEmpty().SetStr(fmt.Sprint(strings.Repeat("x", 500), i))
			scope.PutStr("scope_id", strconv.Itoa(i))
		},
	},
	"an enormous path": {
		records: 40,
		record: func(_ int, scope pcommon.Map) {
			path := scope.PutEmptySlice("path")
			path.EnsureCapacity(100_000)
			for range 100_000 {
				path.AppendEmpty().SetStr("part")
			}
		},
	},
	"an enormous name": {
		records: 40,
		record:  func(_ int, scope pcommon.Map) { scope.PutStr("name", strings.Repeat("x", 1<<20)) },
	},
}

// TestFloodsDoNotHurtTheLiveRank sends hostile streams beside a rank that is alive,
// with little memory to spend.
func TestFloodsDoNotHurtTheLiveRank(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(floodMemory))
	p := startPipelines(t, floodLimits)
	p.events(t, 10, "train")
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			peak := uint64(0)
			for batch := range floodBatches {
				ld := plog.NewLogs()
				n := flood.records / floodBatches
				for i := batch * n; i < (batch+1)*n; i++ {
					session := name
					if flood.session != nil {
						session = flood.session(i)
					}
					event(ld, int64(i), "flood")
					record := ld.ResourceLogs().At(ld.ResourceLogs().Len() - 1).ScopeLogs().At(0).LogRecords().At(0)
					record.Attributes().PutStr("session_id", session)
					record.Attributes().PutStr("host", session)
					record.Attributes().PutInt("pid", 1)
					scope, _ := record.Attributes().Get("phase_scope")
					flood.record(i, scope.Map())
				}
				require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
				p.logsSink.Reset()
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				peak = max(peak, memory.HeapInuse)
			}
			t.Logf("flood: %s, %d records, peak heap %d MiB", name, flood.records, peak>>20)
			assert.Less(t, peak, uint64(floodMemory))

			p.metricsSink.Reset()
			md := pmetric.NewMetrics()
			gauge(md, "s", 10)
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
			assert.Equal(t, []any{"train"}, p.phases()["s"], "the live rank is still answered right")
		})
	}
	p.shutdown(t)
}
