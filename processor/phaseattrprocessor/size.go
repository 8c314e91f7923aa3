// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import "go.opentelemetry.io/collector/pdata/pcommon"

// What pdata takes on the heap beyond what a batch takes on the wire, in bytes. Strings
// and numbers are about as large as there; these are the structs, pointers and slices
// around them, as measured with telemetry that a receiver has unmarshaled.
const (
	// attributeBytes is for each attribute, and for each value in a nested one.
	attributeBytes = 56
	// shellBytes is for each resource with its scope, and its part in the hold buffer.
	shellBytes = 800
	// metricBytes is for each metric, pointBytes for each of its data points.
	metricBytes = 140
	pointBytes  = 80
	// recordBytes is for each log record, spanBytes for each span, and eventBytes for each
	// event and link of one.
	recordBytes = 200
	spanBytes   = 220
	eventBytes  = 100
)

// heapBytes estimates what a batch takes on the heap.
func heapBytes[T any](t telemetry[T], b T) int64 {
	bytes := t.bytes(b)
	var resource, scope pcommon.Map
	for it := range t.items(b) {
		bytes += mapBytes(it.attributes)
		if it.body != (pcommon.Map{}) {
			bytes += mapBytes(it.body)
		}
		if it.resource != resource || it.scope != scope {
			resource, scope = it.resource, it.scope
			bytes += shellBytes + mapBytes(resource) + mapBytes(scope)
		}
	}
	return int64(bytes)
}

func mapBytes(m pcommon.Map) (bytes int) {
	for _, v := range m.All() {
		bytes += valueBytes(v)
	}
	return bytes
}

func valueBytes(v pcommon.Value) int {
	bytes := attributeBytes
	switch v.Type() {
	case pcommon.ValueTypeMap:
		bytes += mapBytes(v.Map())
	case pcommon.ValueTypeSlice:
		for _, element := range v.Slice().All() {
			bytes += valueBytes(element)
		}
	}
	return bytes
}
