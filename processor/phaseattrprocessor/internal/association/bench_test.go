// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"fmt"
	"testing"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

// BenchmarkFinderFind finds the rank of a data point by the default rules, reading its
// attributes included.
func BenchmarkFinderFind(b *testing.B) {
	host := Key{FieldHost, []string{"host.name", "host", "Hostname", "hostname"}}
	a := New([]Rule{
		bySession,
		{Keys: []Key{host, {FieldPID, []string{"process.pid", "pid"}}}},
		{Keys: []Key{host, {FieldDevice, []string{"gpu", "gpu.index", "hw.id", "device_id", "GPU_ID", "UUID"}}}},
	}, nil, 1024)
	for rank := range int64(8) {
		a.Add(boundary.RankKey{Session: "run", Rank: rank}, a.Locations(a.Identity(fields(b, object{
			"host": "node-17.cluster.example.com", "pid": 31000 + rank, "device_id": rank,
		}))))
	}
	point := []string{"UUID", "device", "modelName", "pci_bus_id", "DCGM_FI_DRIVER_VERSION", "err_code"}
	for _, bm := range []struct {
		name            string
		resource, point object
		others          int
	}{
		{"rank on the resource", object{"session_id": "run", "rank": int64(3)}, object{"gpu": "3"}, 1},
		{"host and GPU of 5 attributes", object{}, object{"Hostname": "node-17.cluster.example.com", "gpu": "3"}, 3},
		{"host and GPU of 8 attributes", object{}, object{"Hostname": "node-17.cluster.example.com", "gpu": "3"}, 6},
		{"host and process", object{"host.name": "node-17.cluster.example.com"}, object{"process.pid": int64(31003)}, 3},
	} {
		b.Run(bm.name, func(b *testing.B) {
			attributes := mapOf(b, bm.point)
			for i, key := range point[:bm.others] {
				attributes.PutStr(key, fmt.Sprint("other value ", i))
			}
			finder, live := NewFinder(a, &boundary.Reader{Limits: boundary.Limits{TextBytes: 1024}}), all{}
			var f boundary.Fields
			f.SetScope(boundary.KeyedMap{}, a.Keys.Scan(mapOf(b, bm.resource)))
			finder.SetScope(&f)
			b.ReportAllocs()
			for b.Loop() {
				f.SetRecord(a.Keys.Scan(attributes), boundary.KeyedMap{})
				if m := finder.Find(&f, live); len(m.Ranks) != 1 || m.Ranks[0].Rank != 3 {
					b.Fatal(m)
				}
			}
		})
	}
}
