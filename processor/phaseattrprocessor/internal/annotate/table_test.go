// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package annotate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"pgregory.net/rapid"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/policy"
)

func written(t *Table, a *policy.Attribution) map[string]any {
	attrs := pcommon.NewMap()
	t.Write(attrs, a, false)
	return attrs.AsRaw()
}

func TestWriteEachAttribute(t *testing.T) {
	unique := policy.Attribution{
		Resolution: policy.Unique, Source: policy.SourceHeuristic, Path: "train / step", HasPath: true, Paths: []string{"train / step"},
		ScopeID: "s:1", ThreadID: 0, ThreadName: "Main", HasScope: true, Rank: policy.Rank{Known: true},
		Start: 1_700_000_000_000_000_000, Ended: true, Duration: 250 * time.Millisecond,
	}
	ambiguous := policy.Attribution{
		Resolution: policy.Ambiguous, Reason: "threads", Paths: []string{"load", "train"},
		Summary: policy.Summary{Path: "load", Source: policy.SourceHeuristic},
	}
	for name, want := range map[string][2]any{
		"phase_resolution":  {"unique", "ambiguous"},
		"phase_path":        {"train / step", nil},
		"phase_source":      {"heuristic", nil},
		"phase_paths":       {[]any{"train / step"}, []any{"load", "train"}},
		"phase_summary":     {nil, "load"},
		"phase_label":       {"train / step", "(likely) load"},
		"phase_scope_id":    {"s:1", nil},
		"phase_thread_id":   {int64(0), nil},
		"phase_thread_name": {"Main", nil},
		"phase_rank":        {int64(0), nil},
		"phase_start":       {int64(1_700_000_000_000_000_000), nil},
		"phase_duration":    {0.25, nil},
		"phase_reason":      {nil, "threads"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, Names[string](), name)
			table := New([]string{name})
			attrs := pcommon.NewMap()
			attrs.PutStr("other", "stays")
			for i, a := range []*policy.Attribution{&unique, &ambiguous, &unique} {
				table.Write(attrs, a, i > 0)
				expected := map[string]any{"other": "stays"}
				if want := want[i%2]; want != nil {
					expected[name] = want
				}
				assert.Equal(t, expected, attrs.AsRaw(), "what was written before is replaced or removed")
			}
			assert.False(t, table.Equal(&unique, &ambiguous))
			assert.True(t, table.Equal(&unique, unique.Clone()))
		})
	}
	assert.Len(t, Names[string](), 13, "each attribute is tested")
}

func TestWriteAttributesInTheirOrder(t *testing.T) {
	table := New([]string{"phase_path", "unheard of", "phase_resolution"})
	attrs := pcommon.NewMap()
	table.Write(attrs, &policy.Attribution{
		Resolution: policy.Unique, Path: "train",
		Attributes: []boundary.Attribute{{Key: "epoch", Value: int64(3)}, {Key: "split", Value: "test"}},
	}, false)
	var keys []string
	for key := range attrs.All() {
		keys = append(keys, key)
	}
	assert.Equal(t, []string{"phase_path", "phase_resolution", "epoch", "split"}, keys)
}

// TestEqualAttributionsAreThoseWrittenAlike holds the two columns of the table to each
// other, for any choice of attributes.
func TestEqualAttributionsAreThoseWrittenAlike(t *testing.T) {
	texts := rapid.SampledFrom([]string{"", "a", "b"})
	attributions := rapid.Custom(func(t *rapid.T) *policy.Attribution {
		a := &policy.Attribution{
			Resolution: rapid.SampledFrom([]string{policy.Unique, policy.Ambiguous}).Draw(t, "resolution"),
			Source:     texts.Draw(t, "source"),
			Paths:      rapid.SliceOfN(texts, 0, 2).Draw(t, "paths"),
			Summary:    policy.Summary{Path: texts.Draw(t, "summary"), Source: rapid.SampledFrom([]string{"", policy.SourceHeuristic}).Draw(t, "likely")},
		}
		if a.Path = texts.Draw(t, "path"); a.Path != "" {
			a.HasPath = true
		}
		if a.HasScope = rapid.Bool().Draw(t, "scope"); a.HasScope {
			a.ScopeID, a.ThreadName, a.ThreadID = texts.Draw(t, "scope ID"), texts.Draw(t, "thread"), rapid.Int64Range(0, 1).Draw(t, "thread ID")
		}
		if a.Rank.Known = rapid.Bool().Draw(t, "ranked"); a.Rank.Known {
			a.Rank.Number = rapid.Int64Range(0, 1).Draw(t, "rank")
		}
		if a.Ended = rapid.Bool().Draw(t, "ended"); a.Ended {
			a.Start, a.Duration = rapid.Int64Range(0, 1).Draw(t, "start"), time.Duration(rapid.Int64Range(0, 1).Draw(t, "duration"))
		}
		if rapid.Bool().Draw(t, "epoch") {
			a.Attributes = []boundary.Attribute{{Key: "epoch", Value: rapid.Int64Range(0, 1).Draw(t, "value")}}
		}
		return a
	})
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(Names[string]()), 1, 3, rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		table := New(names.Draw(t, "attributes"))
		x, y := attributions.Draw(t, "x"), attributions.Draw(t, "y")
		require.Equal(t, assert.ObjectsAreEqual(written(table, x), written(table, y)), table.Equal(x, y), "%v %v", written(table, x), written(table, y))
	})
}
