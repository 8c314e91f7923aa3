// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phasespansconnector

import (
	"crypto/sha256"
	"encoding/binary"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// processKey identifies a process of a rank. Scope IDs are unique within it.
type processKey struct {
	rank    boundary.RankKey
	process boundary.Process
}

// spanID returns the ID of a scope's span. The same scope has the same one in every
// collector.
func (k *processKey) spanID(scope string) (id pcommon.SpanID) {
	hash := k.hash("span", scope)
	copy(id[:], hash[:])
	return id
}

// traceID returns the ID of the trace whose unit is a scope.
func (k *processKey) traceID(unit string) (id pcommon.TraceID) {
	hash := k.hash("trace", unit)
	copy(id[:], hash[:])
	return id
}

// hash returns a digest of the kind of an ID, the process and a scope. The length before
// each text makes the whole unambiguous.
func (k *processKey) hash(kind, scope string) [sha256.Size]byte {
	var buffer [512]byte
	text := buffer[:0]
	for _, part := range [...]string{kind, k.rank.Session, k.process.Host, k.process.Container, k.process.Pod, scope} {
		text = binary.AppendUvarint(text, uint64(len(part)))
		text = append(text, part...)
	}
	text = binary.AppendVarint(text, k.rank.Rank)
	text = binary.AppendVarint(text, k.process.PID)
	return sha256.Sum256(text)
}
