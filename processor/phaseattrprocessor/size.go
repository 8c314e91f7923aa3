// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import "go.opentelemetry.io/collector/pdata/pcommon"

// What pdata takes on the heap beyond what a batch takes on the wire, in bytes. Strings
// and numbers are about as large as there; these are the structs, pointers and slices
// around them, as measured with telemetry that a receiver has unmarshaled.
const (
	// attributeBytes is for each attribute.
	attributeBytes = 72
	// shellBytes is for each resource with its scope.
	shellBytes = 400
	// pointBytes is for each data point with its share of a metric, recordBytes for each log
	// record, spanBytes for each span.
	pointBytes  = 300
	recordBytes = 240
	spanBytes   = 320
)

// heapBytes estimates what a batch takes on the heap.
func heapBytes[T any](t telemetry[T], b T) int64 {
	bytes := int64(t.wireBytes(b))
	var resource, scope pcommon.Map
	for it := range t.items(b) {
		bytes += t.itemBytes() + attributeBytes*int64(it.attributes.Len())
		if it.body != (pcommon.Map{}) {
			bytes += attributeBytes * int64(it.body.Len())
		}
		if it.resource != resource || it.scope != scope {
			resource, scope = it.resource, it.scope
			bytes += shellBytes + attributeBytes*int64(resource.Len()+scope.Len())
		}
	}
	return bytes
}
