// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

type object = map[string]any

func fields(t *testing.T, raw object) *boundary.Fields {
	t.Helper()
	m := pcommon.NewMap()
	require.NoError(t, m.FromRaw(raw))
	f := boundary.NewFields(m, pcommon.Map{}, pcommon.Map{}, pcommon.Map{})
	return &f
}

var (
	bySession = Rule{Keys: []Key{{FieldSession, []string{"session_id"}}, {FieldRank, []string{"rank"}}}}
	byProcess = Rule{Keys: []Key{{FieldHost, []string{"host.name", "host"}}, {FieldPID, []string{"process.pid"}}}}
	byDevice  = Rule{Keys: []Key{{FieldHost, []string{"host.name", "Hostname"}}, {FieldDevice, []string{"gpu", "UUID"}}}}
	byJob     = Rule{Keys: []Key{{"job_id", []string{"job"}}}, Representative: true}
)

func TestRulesAreTriedInOrder(t *testing.T) {
	rank0, rank1 := boundary.RankKey{Session: "a", Rank: 0}, boundary.RankKey{Session: "b", Rank: 1}
	other := boundary.RankKey{Session: "c", Rank: 0}
	dead := boundary.RankKey{Session: "dead", Rank: 0}
	a := New([]Rule{bySession, byProcess, byDevice, byJob}, []Device{
		{Host: "node", Device: "GPU-7f", ToHost: "node", LocalRank: 1},
		{Host: "node", Device: "5", ToHost: "node", LocalRank: 0},
		{Host: "node", Device: "6", ToHost: "elsewhere", LocalRank: 0},
	}, 100)
	for group, record := range map[boundary.RankKey]object{
		rank0: {"host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job", "local_rank": int64(0)},
		rank1: {"host": "node", "pid": int64(11), "device_id": "1", "job_id": "job", "local_rank": int64(1)},
		other: {"host": "far", "pid": int64(10), "device_id": int64(-1), "job_id": "other"},
		dead:  {"host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job"},
	} {
		a.Add(group, a.Locations(a.Identity(fields(t, record))))
	}
	var tried []Outcome
	finder := &Finder{
		Association: a,
		Named:       (&boundary.Reader{Limits: boundary.Limits{TextBytes: 100}}).Named,
		Live:        func(g boundary.RankKey) bool { return g == rank0 || g == rank1 || g == other },
		Tried:       func(rule int, outcome Outcome) { require.Len(t, tried, rule); tried = append(tried, outcome) },
	}
	for name, tc := range map[string]struct {
		record         object
		want           []boundary.RankKey
		tried          []Outcome
		representative bool
	}{
		"session and rank": {
			record: object{"session_id": "b", "rank": int64(1), "host.name": "node", "process.pid": int64(10)},
			want:   []boundary.RankKey{rank1}, tried: []Outcome{Matched},
		},
		"session alone is rank 0": {
			record: object{"session_id": "a"},
			want:   []boundary.RankKey{rank0}, tried: []Outcome{Matched},
		},
		"host and process": {
			record: object{"host.name": "node", "process.pid": int64(11)},
			want:   []boundary.RankKey{rank1}, tried: []Outcome{MissingKey, Matched},
		},
		"values compare as text": {
			record: object{"host.name": "node", "process.pid": "11"},
			want:   []boundary.RankKey{rank1}, tried: []Outcome{MissingKey, Matched},
		},
		"the same process ID on another host": {
			record: object{"host.name": "far", "process.pid": int64(10)},
			want:   []boundary.RankKey{other}, tried: []Outcome{MissingKey, Matched},
		},
		"host and device, as dcgm-exporter has them": {
			record: object{"Hostname": "node", "gpu": "1", "UUID": "GPU-unknown"},
			want:   []boundary.RankKey{rank1}, tried: []Outcome{MissingKey, MissingKey, Matched},
		},
		"half of a rule's keys": {
			record: object{"host.name": "node", "job": "other"},
			want:   []boundary.RankKey{other}, tried: []Outcome{MissingKey, MissingKey, MissingKey, Matched}, representative: true,
		},
		"the CPU is no device": {
			record: object{"Hostname": "far", "gpu": "-1"},
			tried:  []Outcome{MissingKey, MissingKey, MissingKey, MissingKey},
		},
		"a device that the map has by UUID": {
			record: object{"Hostname": "node", "gpu": "0", "UUID": "GPU-7f"},
			want:   []boundary.RankKey{rank1}, tried: []Outcome{MissingKey, MissingKey, Matched},
		},
		"a device that the map has by index": {
			record: object{"Hostname": "node", "gpu": "5"},
			want:   []boundary.RankKey{rank0}, tried: []Outcome{MissingKey, MissingKey, Matched},
		},
		"a device that the map has elsewhere": {
			record: object{"Hostname": "node", "gpu": "6"},
			tried:  []Outcome{MissingKey, MissingKey, NoRank, MissingKey},
		},
		"one rank for its job": {
			record: object{"job": "job"},
			want:   []boundary.RankKey{rank0}, tried: []Outcome{MissingKey, MissingKey, MissingKey, Several}, representative: true,
		},
		"a session that is not known is not given another's phases": {
			record: object{"session_id": "new", "host.name": "node", "process.pid": int64(10)},
			want:   []boundary.RankKey{{Session: "new"}}, tried: []Outcome{NoRank, NoRank, MissingKey, MissingKey},
		},
		"a rank is not given another's phases": {
			record: object{"rank": int64(3), "host.name": "node", "process.pid": int64(11)},
			tried:  []Outcome{MissingKey, NoRank, MissingKey, MissingKey},
		},
		"a value that is too long": {
			record: object{"job": strings.Repeat("j", 101)},
			tried:  []Outcome{MissingKey, MissingKey, MissingKey, MissingKey},
		},
		"nothing": {
			record: object{"unit": "By"},
			tried:  []Outcome{MissingKey, MissingKey, MissingKey, MissingKey},
		},
		"values that have no text": {
			record: object{"host.name": object{}, "process.pid": []any{int64(1)}, "job": ""},
			tried:  []Outcome{MissingKey, MissingKey, MissingKey, MissingKey},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tried = nil
			got, representative := finder.Find(fields(t, tc.record))
			assert.ElementsMatch(t, tc.want, got)
			assert.Equal(t, tc.tried, tried)
			assert.Equal(t, tc.representative, representative)
		})
	}
}

func TestSeveralGroupsAreAllFound(t *testing.T) {
	a := New([]Rule{byDevice}, nil, 100)
	shared := object{"host": "node", "pid": int64(10), "device_id": int64(0)}
	groups := []boundary.RankKey{{Session: "a"}, {Session: "b"}}
	for _, group := range groups {
		a.Add(group, a.Locations(a.Identity(fields(t, shared))))
		a.Add(group, a.Locations(a.Identity(fields(t, shared)))) // twice is once
	}
	var outcome Outcome
	finder := &Finder{
		Association: a, Named: new(boundary.Reader).Named,
		Live:  func(boundary.RankKey) bool { return true },
		Tried: func(_ int, o Outcome) { outcome = o },
	}
	got, representative := finder.Find(fields(t, object{"Hostname": "node", "gpu": int64(0)}))
	assert.ElementsMatch(t, groups, got)
	assert.False(t, representative)
	assert.Equal(t, Several, outcome)

	stay := func(boundary.RankKey) bool { return true }
	a.Remove(groups[0], stay)
	got, _ = finder.Find(fields(t, object{"Hostname": "node", "gpu": int64(0)}))
	assert.Len(t, got, 2, "it is back")
	for _, group := range groups {
		a.Remove(group, func(boundary.RankKey) bool { return false })
	}
	assert.Empty(t, a.groups)
	assert.Empty(t, a.places)
}

func TestProcessesAndDevicesAreExclusive(t *testing.T) {
	a := New([]Rule{bySession, byProcess, byDevice, byJob}, nil, 100)
	var exclusive []bool
	for _, place := range a.Locations(a.Identity(fields(t, object{
		"session_id": "a", "host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job",
	}))) {
		exclusive = append(exclusive, place.Exclusive)
	}
	assert.Equal(t, []bool{true, true, false}, exclusive)
}
