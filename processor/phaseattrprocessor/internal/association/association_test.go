// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/boundary"
)

type object = map[string]any

func mapOf(tb testing.TB, raw object) pcommon.Map {
	tb.Helper()
	m := pcommon.NewMap()
	require.NoError(tb, m.FromRaw(raw))
	return m
}

func fields(tb testing.TB, raw object) *boundary.Fields {
	tb.Helper()
	f := boundary.NewFields(mapOf(tb, raw), pcommon.Map{}, pcommon.Map{}, pcommon.Map{})
	return &f
}

var (
	bySession = Rule{Keys: []Key{{FieldSession, []string{"session_id"}}, {FieldRank, []string{"rank"}}}}
	byProcess = Rule{Keys: []Key{{FieldHost, []string{"host.name", "host"}}, {FieldPID, []string{"process.pid"}}}}
	byDevice  = Rule{Keys: []Key{{FieldHost, []string{"host.name", "Hostname"}}, {FieldDevice, []string{"gpu", "UUID"}}}}
	byJob     = Rule{Keys: []Key{{"job_id", []string{"job"}}}, Representative: true}
)

// live are ranks that can answer.
type live []boundary.RankKey

func (l live) Live(rank *boundary.RankKey) bool { return slices.Contains(l, *rank) }

// all lets every rank answer.
type all struct{}

func (all) Live(*boundary.RankKey) bool { return true }

func newFinder(a *Association) *Finder {
	return NewFinder(a, &boundary.Reader{Limits: boundary.Limits{TextBytes: 100}})
}

// outcomes returns the outcome of each rule that was tried, in order, and clears them.
func outcomes(t *testing.T, f *Finder) []Outcome {
	t.Helper()
	var tried []Outcome
	for rule := range f.Tried {
		for outcome, n := range f.Tried[rule] {
			if n > 0 {
				require.Len(t, tried, rule)
				require.Equal(t, int64(1), n)
				tried = append(tried, Outcome(outcome))
			}
		}
	}
	f.Tried = [MaxRules][Outcomes]int64{}
	return tried
}

func TestRulesAreTriedInOrder(t *testing.T) {
	rank0, rank1 := boundary.RankKey{Session: "a", Rank: 0}, boundary.RankKey{Session: "b", Rank: 1}
	other := boundary.RankKey{Session: "c", Rank: 0}
	dead := boundary.RankKey{Session: "dead", Rank: 0}
	a := New([]Rule{bySession, byProcess, byDevice, byJob}, []Device{
		{Host: "node", Device: "GPU-7f", ToHost: "node", LocalRank: 1},
		{Host: "node", Device: "5", ToHost: "node", LocalRank: 0},
		{Host: "node", Device: "6", ToHost: "elsewhere", LocalRank: 0},
	}, 100)
	for rank, record := range map[boundary.RankKey]object{
		rank0: {"host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job", "local_rank": int64(0)},
		rank1: {"host": "node", "pid": int64(11), "device_id": "1", "job_id": "job", "local_rank": int64(1)},
		other: {"host": "far", "pid": int64(10), "device_id": int64(-1), "job_id": "other"},
		dead:  {"host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job"},
	} {
		a.Add(rank, a.Locations(a.Identity(fields(t, record))))
	}
	finder, ranks := newFinder(a), live{rank0, rank1, other}
	for name, tc := range map[string]struct {
		record         object
		want           []boundary.RankKey
		tried          []Outcome
		representative bool
		location       string
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
		"the CPU is not a device": {
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
		"a device that the map has on an unknown host": {
			record: object{"Hostname": "node", "gpu": "6"},
			tried:  []Outcome{MissingKey, MissingKey, NoRank, MissingKey}, location: "4\x00elsewhere\x000",
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
			got := finder.Find(fields(t, tc.record), ranks)
			assert.ElementsMatch(t, tc.want, got.Ranks)
			assert.Equal(t, tc.tried, outcomes(t, finder))
			assert.Equal(t, tc.representative, got.Representative)
			assert.Equal(t, tc.location, string(got.Location))
		})
	}
}

func TestAllRanksAtALocationAreFound(t *testing.T) {
	a := New([]Rule{byDevice}, nil, 100)
	shared := object{"host": "node", "pid": int64(10), "device_id": int64(0)}
	both := []boundary.RankKey{{Session: "a"}, {Session: "b"}}
	for _, rank := range both {
		a.Add(rank, a.Locations(a.Identity(fields(t, shared))))
		a.Add(rank, a.Locations(a.Identity(fields(t, shared)))) // twice is once
	}
	finder := newFinder(a)
	got := finder.Find(fields(t, object{"Hostname": "node", "gpu": int64(0)}), all{})
	assert.ElementsMatch(t, both, got.Ranks)
	assert.False(t, got.Representative)
	assert.Equal(t, []Outcome{Several}, outcomes(t, finder))

	a.Remove(both[0], func(boundary.RankKey) bool { return true })
	got = finder.Find(fields(t, object{"Hostname": "node", "gpu": int64(0)}), all{})
	assert.Len(t, got.Ranks, 2, "it is registered again")
	for _, rank := range both {
		a.Remove(rank, func(boundary.RankKey) bool { return false })
	}
	assert.Empty(t, a.ranks)
	assert.Empty(t, a.locations)
}

func TestLocationOfTheFirstCompleteRuleIsReturnedIfNoRankIsKnownThere(t *testing.T) {
	a := New([]Rule{bySession, byProcess, byDevice}, nil, 100)
	known := boundary.RankKey{Session: "a", Rank: 3}
	a.Add(known, a.Locations(a.Identity(fields(t, object{"host": "node", "pid": int64(10), "device_id": int64(0)}))))
	finder := newFinder(a)
	for name, tc := range map[string]struct {
		record object
		ranks  Ranks
		want   string
	}{
		"unknown process":                        {object{"host.name": "node", "process.pid": int64(12)}, all{}, "1\x00node\x0012"},
		"unknown device":                         {object{"host.name": "node", "gpu": int64(1)}, all{}, "2\x00node\x001"},
		"unknown process and device":             {object{"host.name": "node", "process.pid": int64(12), "gpu": "1"}, all{}, "1\x00node\x0012"},
		"unknown process of a known device":      {object{"host.name": "node", "process.pid": int64(12), "gpu": "0"}, all{}, ""},
		"unknown process of a device of no rank": {object{"host.name": "node", "process.pid": int64(12), "gpu": "0"}, live{}, "1\x00node\x0012"},
		"unknown device of a known process":      {object{"host.name": "node", "process.pid": int64(10), "gpu": "1"}, live{}, ""},
		"known process":                          {object{"host.name": "node", "process.pid": int64(10)}, live{}, ""},
		"process of another rank":                {object{"rank": int64(4), "host.name": "node", "process.pid": int64(10)}, all{}, ""},
		"unknown session at an unknown process":  {object{"session_id": "b", "host.name": "node", "process.pid": int64(12)}, live{}, ""},
		"no keys":                                {object{"host.name": "node"}, all{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			match := finder.Find(fields(t, tc.record), tc.ranks)
			require.Equal(t, tc.want, string(match.Location))
			assert.Equal(t, tc.want == "", match.Location == nil)
			if tc.want != "" {
				assert.Empty(t, match.Ranks)
				assert.Empty(t, a.At(tc.want))
			}
		})
	}

	match := finder.Find(fields(t, object{"host.name": "node", "process.pid": int64(12)}), all{})
	a.Add(known, a.Locations(a.Identity(fields(t, object{"host": "node", "pid": int64(12)}))))
	at := a.At(string(match.Location))
	assert.Equal(t, []boundary.RankKey{known}, at)
	at[0].Rank = 9
	assert.Equal(t, []boundary.RankKey{known}, a.At(string(match.Location)), "the caller has a copy")
}

func TestFindDoesNotAllocate(t *testing.T) {
	a := New([]Rule{bySession, byProcess, byDevice}, []Device{
		{Host: "node-17.cluster.example.com", Device: "GPU-5d3f0b3a-7b1e-4b43-9c0d-5a3f1e6c2d11", ToHost: "node", LocalRank: 1},
	}, 100)
	a.Add(boundary.RankKey{Session: "a"}, a.Locations(a.Identity(fields(t, object{
		"host": "node-17.cluster.example.com", "pid": int64(12345), "device_id": int64(1000),
	}))))
	for name, record := range map[string]object{
		"whole rank":       {"session_id": "a", "rank": "0"},
		"process":          {"host.name": "node-17.cluster.example.com", "process.pid": int64(12345)},
		"device":           {"host.name": "node-17.cluster.example.com", "gpu": 1000.0},
		"mapped device":    {"host.name": "node-17.cluster.example.com", "UUID": "GPU-5d3f0b3a-7b1e-4b43-9c0d-5a3f1e6c2d11"},
		"unknown location": {"host.name": "node-17.cluster.example.com", "process.pid": int64(54321)},
	} {
		f, finder, ranks := fields(t, record), newFinder(a), Ranks(all{})
		assert.Zero(t, testing.AllocsPerRun(100, func() { finder.Find(f, ranks) }), name)
	}
}

func TestInheritedRankIsThatOfTheScopeUnlessTheRecordOrARuleDecides(t *testing.T) {
	scope := object{"session_id": "a", "rank": int64(3)}
	for name, tc := range map[string]struct {
		rules         []Rule
		scope, record object
		want          bool
	}{
		"scope names a rank":             {[]Rule{bySession}, scope, object{"gpu": "0"}, true},
		"scope names a session":          {[]Rule{bySession}, object{"session_id": "a"}, object{}, true},
		"scope names no session":         {[]Rule{bySession}, object{"rank": int64(3)}, object{}, false},
		"record names a session":         {[]Rule{bySession}, scope, object{"session_id": "b"}, false},
		"record names a rank":            {[]Rule{bySession}, scope, object{"rank": int64(4)}, false},
		"another rule comes first":       {[]Rule{byProcess, bySession}, scope, object{}, false},
		"the rule is a representative's": {[]Rule{{Keys: bySession.Keys, Representative: true}}, scope, object{}, false},
		"no rules":                       {nil, scope, object{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(tc.rules, nil, 100)
			finder := newFinder(a)
			f := fields(t, object{})
			f.SetRecord(boundary.KeyedMap{}, boundary.KeyedMap{})
			f.SetScope(a.Keys.Scan(mapOf(t, tc.scope)), boundary.KeyedMap{})
			finder.SetScope(f)
			f.SetRecord(a.Keys.Scan(mapOf(t, tc.record)), boundary.KeyedMap{})
			rank, ok := finder.Inherited(f)
			require.Equal(t, tc.want, ok)
			if ok {
				assert.Equal(t, []boundary.RankKey{*rank}, finder.Find(f, all{}).Ranks)
			}
		})
	}
}

func TestIdentityHasTheNamesOfTheSemanticConventions(t *testing.T) {
	a := New([]Rule{byProcess}, nil, 100)
	for _, raw := range []object{
		{"host": "n1", "pid": int64(7)},
		{"host.name": "n1", "process.pid": int64(7)},
		{"host": "n1", "host.name": "other", "pid": " ", "process.pid": "7"},
	} {
		assert.Equal(t, Identity{{FieldHost, "n1"}, {FieldPID, "7"}}, a.Identity(fields(t, raw)), raw)
	}
}

func TestProcessesAndDevicesAreExclusive(t *testing.T) {
	a := New([]Rule{bySession, byProcess, byDevice, byJob}, nil, 100)
	var exclusive []bool
	for _, location := range a.Locations(a.Identity(fields(t, object{
		"session_id": "a", "host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "job",
	}))) {
		exclusive = append(exclusive, location.Exclusive)
	}
	assert.Equal(t, []bool{true, true, false}, exclusive)
}
