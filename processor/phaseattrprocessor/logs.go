// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"iter"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// logs walks log records, which are annotated as of their time.
type logs struct{}

func (logs) items(ld plog.Logs) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		var it item // one for all, since it escapes
		for _, resource := range ld.ResourceLogs().All() {
			it.resource, it.resourceLogs = resource.Resource().Attributes(), resource
			for _, scope := range resource.ScopeLogs().All() {
				it.scope, it.scopeLogs = scope.Scope().Attributes(), scope
				for _, record := range scope.LogRecords().All() {
					it.attributes, it.body, it.record = record.Attributes(), boundary.MapBody(record), record
					if !yield(&it) {
						return
					}
				}
			}
		}
	}
}

func (logs) partition(ld plog.Logs, c *cursor, parts []plog.Logs) {
	ld.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
		to := perPart(func(part int32) plog.ResourceLogs {
			return copyResource(resource, parts[part].ResourceLogs().AppendEmpty())
		})
		return emptied(resource.ScopeLogs(), func(scope plog.ScopeLogs) bool {
			return moveItems(scope.LogRecords(), c, func(part int32) plog.LogRecordSlice {
				return copyScope(scope, to(part).ScopeLogs().AppendEmpty()).LogRecords()
			})
		})
	})
}

func (logs) append(to, from plog.Logs) {
	from.ResourceLogs().MoveAndAppendTo(to.ResourceLogs())
}

func (logs) empty() plog.Logs          { return plog.NewLogs() }
func (logs) isEmpty(ld plog.Logs) bool { return ld.ResourceLogs().Len() == 0 }
func (logs) count(ld plog.Logs) int    { return ld.LogRecordCount() }

func (logs) bytes(ld plog.Logs) int {
	return (&plog.ProtoMarshaler{}).LogsSize(ld) + recordBytes*ld.LogRecordCount()
}
