// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"fmt"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// BenchmarkFinderFind finds the rank of a data point by the default rules, reading its
// attributes included.
func BenchmarkFinderFind(b *testing.B) {
	const host = "node-17.cluster.example.com"
	uuid := func(rank int64) string { return fmt.Sprintf("GPU-6f2a94d1-3c0e-4b7f-0001-%012x", rank) }
	point := []string{"UUID", "device", "modelName", "pci_bus_id", "DCGM_FI_DRIVER_VERSION", "err_code"}
	for _, bm := range []struct {
		name            string
		resource, point object
		others          int
		uuids           bool // boundary records have them
	}{
		{"rank on the resource", object{"session_id": "run", "rank": int64(3)}, object{"gpu": "3"}, 1, false},
		{"session on the resource", object{"session_id": "run"}, object{"Hostname": host, "gpu": "3"}, 3, false},
		{"host and GPU of 5 attributes", object{}, object{"Hostname": host, "gpu": "3"}, 3, false},
		{"host and GPU of 8 attributes", object{}, object{"Hostname": host, "gpu": "3"}, 6, false},
		{"UUID of 8 attributes", object{}, object{"Hostname": host, "gpu": "3"}, 6, true},
		{"host and process", object{"host.name": host}, object{"process.pid": int64(31003)}, 3, false},
	} {
		b.Run(bm.name, func(b *testing.B) {
			a := associationOf(everyRule)
			for rank := range int64(8) {
				record := object{"host": host, "pid": 31000 + rank, "device_id": rank}
				if bm.uuids {
					record["gpu_uuid"] = uuid(rank)
				}
				a.Add(boundary.Occupant{Rank: boundary.RankKey{Session: "run", Rank: rank}}, a.Identity(fields(b, record)), nil)
			}
			attributes := mapOf(b, bm.point)
			for i, key := range point[:bm.others] {
				attributes.PutStr(key, fmt.Sprint("other value ", i))
			}
			if bm.others > 1 {
				attributes.PutStr("UUID", uuid(3))
			}
			finder, live := newFinder(a), all{}
			var f boundary.Fields
			f.ScanScope(a.Keys, pcommon.Map{}, mapOf(b, bm.resource))
			finder.SetScope(&f)
			b.ReportAllocs()
			for b.Loop() {
				f.ScanRecord(a.Keys, attributes, pcommon.Map{})
				if m := finder.Find(&f, false, live); len(m.Targets) != 1 || m.Targets[0].Rank.Rank != 3 {
					b.Fatal(m)
				}
			}
		})
	}
}

// BenchmarkSender reads who sends an event.
func BenchmarkSender(b *testing.B) {
	a := associationOf(everyRule)
	resource := mapOf(b, object{"service.name": "trainer"})
	record := mapOf(b, object{
		"event_type": "phase_enter", "session_id": "run", "rank": int64(3), "timestamp_ns": int64(1), "host": "node-17",
		"pid": int64(31003), "device_id": int64(3), "job_id": "4711", "world_size": int64(8), "local_rank": int64(3),
		"metadata": object{},
	})
	reader := NewSenderReader(a)
	f := boundary.NewFields(record, pcommon.Map{}, pcommon.Map{}, resource)
	reader.SetScope(&f)
	b.ReportAllocs()
	for b.Loop() {
		if reader.Read(&f).Process.PID != 31003 {
			b.Fatal()
		}
	}
}
