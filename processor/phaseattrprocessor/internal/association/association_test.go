// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
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

// with returns the first object with the attributes of the others.
func with(objects ...object) object {
	all := object{}
	for _, o := range objects {
		for key, value := range o {
			all[key] = value
		}
	}
	return all
}

func byField(names ...string) Rule {
	var rule Rule
	for _, name := range names {
		rule.Keys = append(rule.Keys, Key{name, TelemetryNames(name)})
	}
	return rule
}

var (
	bySession  = Rule{Keys: []Key{{FieldSession, []string{"session_id"}}, {FieldRank, []string{"rank"}}}}
	byProcess  = byField(FieldHost, FieldPID)
	byPodUID   = byField(FieldPodUID)
	byPod      = byField(FieldPod)
	byJob      = byField(FieldJob)
	byUUID     = byField(FieldUUID)
	byPCI      = byField(FieldHost, FieldPCI)
	byDevice   = byField(FieldHost, FieldDevice)
	forItsJob  = Rule{Keys: byJob.Keys, Representative: true}
	everyRule  = []Rule{bySession, byProcess, byPodUID, byPod, byJob, byUUID, byPCI, byDevice}
	deviceRule = 7
)

func associationOf(rules []Rule, devices ...Device) *Association {
	return New(Options{Rules: rules, Devices: devices, Session: "session_id", Rank: "rank", TextBytes: 100})
}

// cluster is what is known of ranks. All are alive but for those that are dead.
type cluster struct {
	tb testing.TB
	*Association
	dead      map[boundary.RankKey]bool
	over      map[boundary.Occupant]bool
	more      map[string]bool // sessions with more ranks than those that are known
	presences int32
}

func newCluster(tb testing.TB, a *Association) *cluster {
	tb.Helper()
	return &cluster{
		tb: tb, Association: a,
		dead: map[boundary.RankKey]bool{}, over: map[boundary.Occupant]bool{}, more: map[string]bool{},
	}
}

// runs adds a presence of the process of a rank with a number.
func (c *cluster) runs(session string, rank int64, process int32, record object) (boundary.Occupant, []Neighbor) {
	c.tb.Helper()
	c.presences++
	o := boundary.Occupant{Rank: boundary.RankKey{Session: session, Rank: rank}, Process: process, Presence: c.presences}
	_, others := c.Add(o, c.Identity(fields(c.tb, record)), nil)
	return o, others
}

func (c *cluster) Live(rank *boundary.RankKey, _ time.Duration) bool {
	return c.owners[*rank] != nil && !c.dead[*rank]
}

func (c *cluster) Present(o *boundary.Occupant, _ time.Duration) bool {
	return !c.dead[o.Rank] && !c.over[*o]
}

func (*cluster) Interval(time.Duration) (from, to int64) { return 0, 0 }

func (c *cluster) Session(tenant, id string) (ranks []int64, complete bool) {
	for rank := range c.owners {
		if rank.Tenant == tenant && rank.Session == id {
			ranks = append(ranks, rank.Rank)
		}
	}
	return ranks, !c.more[id]
}

var _ Ranks = (*cluster)(nil)

func newFinder(a *Association) *Finder {
	return NewFinder(a, &boundary.Reader{Limits: boundary.Limits{TextBytes: 100}})
}

// scanned has a finder begin with a resource, and returns the fields of a data point of it.
func scanned(tb testing.TB, finder *Finder, resource, point object) *boundary.Fields {
	tb.Helper()
	keys := finder.association.Keys
	var f boundary.Fields
	f.ScanScope(keys, pcommon.Map{}, mapOf(tb, resource))
	finder.SetScope(&f)
	f.ScanRecord(keys, mapOf(tb, point), pcommon.Map{})
	return &f
}

// find finds the ranks of a data point of a resource.
func (c *cluster) find(resource, point object) (Match, *Finder) { return c.findOf("", resource, point) }

func (c *cluster) findOf(metric string, resource, point object) (Match, *Finder) {
	c.tb.Helper()
	finder := newFinder(c.Association)
	f := scanned(c.tb, finder, resource, point)
	match := *finder.Find(f, strings.HasPrefix(metric, "hw.gpu."), c)
	if target, ok := finder.Inherited(f); ok {
		require.Equal(c.tb, []Target{*target}, match.Targets)
	}
	assert.Equal(c.tb, match.Reason == NoReason, len(match.Targets) > 0 && !match.Ambiguous)
	return match, finder
}

// said is a match in words: "a/0", "a/0 or b/1", "unlisted", "none".
func said(m Match) string {
	var names []string
	for _, target := range m.Targets {
		name := fmt.Sprintf("%s/%d", target.Rank.Session, target.Rank.Rank)
		if target.Process != boundary.MainProcess {
			name += fmt.Sprintf("#%d", target.Process)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	text := strings.Join(names, " or ")
	switch {
	case m.Unlisted:
		text = "unlisted"
	case len(names) == 0:
		text = "none"
	case m.Ambiguous && len(names) == 1:
		text = "perhaps " + text
	case !m.Ambiguous && len(names) > 1:
		text += " without doubt"
	}
	if m.Representative {
		text += " for all"
	}
	if m.Reason != NoReason {
		text += ", " + m.Reason.String()
	}
	return text
}

// triedBy returns the outcome of a rule.
func triedBy(f *Finder, rule int) string {
	for outcome, n := range f.Tried[rule] {
		if n > 0 {
			return Outcome(outcome).String()
		}
	}
	return "not tried"
}

// dcgm has the labels of dcgm-exporter.
func dcgm(host, gpu string) object {
	return object{
		"gpu": gpu, "UUID": "GPU-" + host + "-" + gpu, "pci_bus_id": "00000000:3" + gpu + ":00.0", "device": "nvidia" + gpu,
		"modelName": "NVIDIA H100 80GB HBM3", "Hostname": host, "DCGM_FI_DRIVER_VERSION": "550.90.07",
	}
}

func TestTelemetryIsAnsweredByTheRankThatItSaysMost(t *testing.T) {
	type ranks = map[string]object // what the records of a rank say, by "session/rank"
	trainers := ranks{
		"a/0": {"host": "node", "pid": int64(10), "device_id": int64(0), "job_id": "77"},
		"b/1": {"host": "node", "pid": int64(11), "device_id": "1", "job_id": "77"},
		"c/0": {"host": "far", "pid": int64(10), "device_id": int64(-1), "job_id": "78"},
	}
	pods := ranks{
		"a/0": {"host": "node", "pid": int64(1), "device_id": int64(0), "k8s.pod.name": "train-0", "k8s.pod.uid": "UID-0"},
		"b/0": {"host": "node", "pid": int64(1), "device_id": int64(0), "k8s.pod.name": "train-1", "k8s.pod.uid": "UID-1"},
	}
	slurm := ranks{
		"a/0": {"host": "node", "device_id": int64(0), "job_id": int64(4711)},
		"b/0": {"host": "node", "device_id": int64(0), "job_id": "4712"},
	}
	uuids := ranks{
		"a/0": {"host": "node", "device_id": int64(0), "gpu_uuid": "5D3F0B3A-7b1e-4b43-9c0d-5a3f1e6c2d11"},
		"b/1": {"host": "node", "device_id": int64(0), "nv.gpu.uuid": "GPU-77f0", "nv.gpu.pci_bus_id": "0000:81:00.0"},
	}
	mig := ranks{
		"a/0": {"host": "node", "device_id": int64(0), "gpu_uuid": "GPU-5a1c", "gpu_instance_id": int64(7)},
		"b/1": {"host": "node", "device_id": int64(0), "gpu_uuid": "GPU-5a1c", "gpu_instance_id": "8"},
	}
	whole := ranks{"a/0": {"host": "node", "device_id": int64(0)}}
	job := ranks{
		"s/0": {"host": "node", "device_id": int64(0), "job_id": "j"}, "s/3": {"host": "node", "device_id": int64(3), "job_id": "j"},
	}
	for name, tc := range map[string]struct {
		ranks           ranks
		metric          string
		resource, point object
		dead, more      string
		want, tried     string // tried is the outcome of the last rule
	}{
		"session and rank":               {ranks: trainers, point: object{"session_id": "b", "rank": int64(1)}, want: "b/1"},
		"session and rank of a resource": {ranks: trainers, resource: object{"session_id": "b", "rank": "1"}, point: dcgm("node", "0"), want: "b/1"},
		"session that is not known":      {ranks: trainers, point: with(dcgm("node", "0"), object{"session_id": "new"}), want: "none, unknown_session"},
		"session and rank, not known":    {ranks: trainers, point: with(dcgm("node", "0"), object{"session_id": "a", "rank": int64(7)}), want: "a/7"},
		"rank of another number":         {ranks: trainers, point: with(dcgm("node", "0"), object{"rank": int64(3)}), want: "none, unknown_session"},
		"rank that is no number":         {ranks: trainers, point: with(dcgm("node", "0"), object{"rank": "first"}), want: "none, unknown_session"},
		"host and process":               {ranks: trainers, point: object{"host.name": "node", "process.pid": int64(11)}, want: "b/1#0"},
		"values of another type":         {ranks: trainers, point: object{"host.name": " Node ", "process.pid": " 11 "}, want: "b/1#0"},
		"integral doubles":               {ranks: trainers, point: object{"host.name": "node", "gpu": 1.0}, want: "b/1"},
		"process of another host":        {ranks: trainers, point: object{"host.name": "far", "process.pid": int64(10)}, want: "c/0#0"},
		"host and device":                {ranks: trainers, point: dcgm("node", "1"), want: "b/1", tried: "matched"},
		"the other spelling":             {ranks: trainers, point: object{"hostname": "node", "gpu": "1"}, want: "b/1"},
		"AMD's exporter":                 {ranks: trainers, point: object{"hostname": "node", "gpu_id": "1", "pod": "", "job_id": ""}, want: "b/1"},
		"Ray":                            {ranks: trainers, resource: object{"host.name": "node"}, point: object{"GpuIndex": "1"}, want: "b/1"},
		"an empty host on the point":     {ranks: trainers, resource: object{"host.name": "node"}, point: object{"Hostname": "", "gpu": "1"}, want: "b/1"},
		"an empty session and rank":      {ranks: trainers, point: with(dcgm("node", "1"), object{"session_id": "", "rank": ""}), want: "b/1"},
		"device of no rank":              {ranks: trainers, point: dcgm("node", "5"), want: "none, unknown_session", tried: "no_rank"},
		"device of a rank that is over":  {ranks: trainers, dead: "b", point: dcgm("node", "1"), want: "none, unknown_session", tried: "no_rank"},
		"the CPU is no device":           {ranks: trainers, point: object{"Hostname": "far", "gpu": "-1"}, want: "none, no_session", tried: "missing_key"},
		"nothing":                        {ranks: trainers, point: object{"unit": "By"}, want: "none, no_session", tried: "missing_key"},
		"values without a text":          {ranks: trainers, point: object{"host.name": object{}, "process.pid": []any{int64(1)}}, want: "none, no_session"},
		"a value that is too long":       {ranks: trainers, point: object{"Hostname": strings.Repeat("h", 101), "gpu": "1"}, want: "none, no_session"},
		"qualified host":                 {ranks: trainers, point: dcgm("node.example.com", "1"), want: "b/1"},
		"job and device":                 {ranks: trainers, point: with(dcgm("node", "1"), object{"hpc_job": "77"}), want: "b/1"},
		"job of one rank":                {ranks: trainers, point: object{"hpc_job": int64(78)}, want: "c/0"},
		"job of a rank that has others":  {ranks: trainers, more: "c", point: object{"hpc_job": int64(78)}, want: "perhaps c/0, several_ranks"},
		"job of several ranks":           {ranks: trainers, point: object{"slurm.job.id": "77"}, want: "a/0 or b/1, several_ranks"},
		"device of another job":          {ranks: trainers, point: with(dcgm("node", "1"), object{"hpc_job": "99"}), want: "none, other_device"},
		"job of what a log is about":     {ranks: trainers, resource: object{"session_id": "b", "rank": "1"}, point: object{"job_id": "99"}, want: "b/1"},
		"a job that has a name":          {ranks: trainers, point: with(dcgm("node", "1"), object{"hpc_job": "llama"}), want: "b/1"},
		"job of the exporter":            {ranks: trainers, resource: object{"slurm.job.id": "99"}, point: dcgm("node", "1"), want: "b/1"},

		"a fan":                          {ranks: trainers, metric: "hw.fan.speed", resource: object{"host.name": "node"}, point: object{"hw.id": "0"}, want: "none, no_session"},
		"a disk":                         {ranks: trainers, metric: "hw.temperature", resource: object{"host.name": "node"}, point: object{"hw.id": "0", "hw.type": "physical_disk"}, want: "none, no_session"},
		"a GPU by its type":              {ranks: trainers, metric: "hw.temperature", resource: object{"host.name": "node"}, point: object{"hw.id": "1", "hw.type": "GPU"}, want: "b/1"},
		"a GPU by its metric":            {ranks: trainers, metric: "hw.gpu.utilization", resource: object{"host.name": "node"}, point: object{"hw.id": "1"}, want: "b/1"},
		"a GPU whose hw.id is a UUID":    {ranks: uuids, metric: "hw.gpu.utilization", point: object{"hw.id": "gpu-77F0"}, want: "b/1"},
		"a GPU whose hw.id is a PCI bus": {ranks: uuids, metric: "hw.gpu.utilization", resource: object{"host.name": "node"}, point: object{"hw.id": "00000000:81:00.0"}, want: "b/1"},

		"pods that call their GPUs alike":     {ranks: pods, point: with(dcgm("node", "0"), object{"pod": "train-0", "namespace": "ns", "container": "main"}), want: "a/0"},
		"the other pod":                       {ranks: pods, point: with(dcgm("node", "1"), object{"pod": "train-1", "namespace": "ns", "container": "main"}), want: "b/0"},
		"their GPU without a pod":             {ranks: pods, point: dcgm("node", "0"), want: "a/0 or b/0, shared_device", tried: "conflict"},
		"a pod that writes no boundaries":     {ranks: pods, point: with(dcgm("node", "0"), object{"pod": "other"}), want: "none, other_device"},
		"the exporter's pod on the resource":  {ranks: pods, dead: "b", resource: object{"k8s.pod.name": "dcgm-x"}, point: dcgm("node", "0"), want: "a/0"},
		"the exporter's pod on the point":     {ranks: pods, point: with(dcgm("node", "0"), object{"pod": "dcgm-x", "exported_pod": "train-1"}), want: "b/0"},
		"a pod by its UID":                    {ranks: pods, resource: object{"k8s.pod.uid": "uid-1"}, point: object{}, want: "b/0"},
		"a pod of another namespace":          {ranks: ranks{"a/0": {"pod": "train-0", "namespace": "x"}}, point: object{"pod": "train-0", "namespace": "y"}, want: "none, unknown_session"},
		"the first process of a pod":          {ranks: pods, resource: object{"host.name": "node", "process.pid": int64(1), "k8s.pod.uid": "uid-1"}, point: object{}, want: "b/0#0"},
		"the first process of some container": {ranks: pods, resource: object{"host.name": "node", "process.pid": int64(1)}, point: object{}, want: "none, no_session"},

		"Slurm jobs that call their GPUs alike": {ranks: slurm, point: with(dcgm("node", "0"), object{"hpc_job": "4711"}), want: "a/0"},
		"the other job":                         {ranks: slurm, point: with(dcgm("node", "1"), object{"hpc_job": "4712"}), want: "b/0"},
		"a job that writes no boundaries":       {ranks: slurm, dead: "b", point: with(dcgm("node", "0"), object{"hpc_job": "4713"}), want: "none, other_device"},

		"UUID before index":            {ranks: uuids, point: object{"Hostname": "node", "gpu": "0", "UUID": "GPU-77f0"}, want: "b/1"},
		"UUID without its prefix":      {ranks: uuids, point: object{"uuid": "5d3f0b3a-7b1e-4b43-9c0d-5a3f1e6c2d11"}, want: "a/0"},
		"UUID of another device":       {ranks: uuids, point: object{"Hostname": "node", "gpu": "0", "UUID": "GPU-other"}, want: "none, other_device"},
		"UUID of something else":       {ranks: uuids, point: object{"session_id": "a", "rank": "0", "uuid": "0b6f"}, want: "a/0"},
		"named rank, another's device": {ranks: uuids, resource: object{"session_id": "a", "rank": "0"}, point: object{"UUID": "GPU-77f0"}, want: "none, other_device"},
		"named rank, its device":       {ranks: uuids, resource: object{"session_id": "b", "rank": "1"}, point: object{"UUID": "GPU-77f0"}, want: "b/1"},
		"PCI address before index":     {ranks: uuids, point: object{"Hostname": "node", "gpu": "0", "pci_bus_id": "00000000:81:00.0"}, want: "b/1"},

		"MIG instance by UUID":               {ranks: mig, point: object{"Hostname": "node", "gpu": "0", "UUID": "GPU-5a1c", "GPU_I_ID": "8"}, want: "b/1"},
		"MIG instance by index":              {ranks: mig, point: object{"Hostname": "node", "gpu": "0", "GPU_I_ID": "7"}, want: "a/0"},
		"MIG instance of nobody":             {ranks: mig, point: object{"Hostname": "node", "gpu": "0", "GPU_I_ID": "9"}, want: "none, other_device"},
		"MIG device as a whole":              {ranks: mig, point: object{"Hostname": "node", "gpu": "0"}, want: "a/0 or b/1, shared_device"},
		"MIG device as a whole, one is over": {ranks: mig, dead: "b", point: object{"Hostname": "node", "gpu": "0"}, want: "perhaps a/0, shared_device", tried: "shared"},
		"MIG instance that no record names":  {ranks: whole, point: object{"Hostname": "node", "gpu": "0", "GPU_I_ID": "7"}, want: "perhaps a/0, shared_device"},
		"MIG instance as a UUID on one side": {ranks: ranks{"a/0": {"host": "node", "device_id": int64(0), "gpu_uuid": "MIG-1f"}}, point: with(dcgm("node", "0"), object{"GPU_I_ID": "7"}), want: "perhaps a/0, shared_device"},
		"MIG instance as a UUID on both":     {ranks: ranks{"a/0": {"host": "node", "device_id": int64(0), "gpu_uuid": "MIG-1f"}}, point: object{"uuid": "mig-1F"}, want: "a/0"},

		"session without rank, device":             {ranks: job, resource: object{"session_id": "s"}, point: dcgm("node", "3"), want: "s/3"},
		"session without rank, nothing":            {ranks: job, resource: object{"session_id": "s"}, point: object{}, want: "s/0 or s/3, several_ranks"},
		"session without rank, another device":     {ranks: job, resource: object{"session_id": "s"}, point: dcgm("node", "5"), want: "s/0 or s/3, several_ranks"},
		"session without rank, job":                {ranks: job, resource: object{"session_id": "s", "job_id": "j"}, point: object{}, want: "s/0 or s/3, several_ranks"},
		"session of one rank":                      {ranks: trainers, resource: object{"session_id": "b"}, point: object{}, want: "b/1"},
		"session of which one rank is known":       {ranks: trainers, more: "b", resource: object{"session_id": "b"}, point: object{}, want: "perhaps b/1, several_ranks"},
		"session that is a number":                 {ranks: ranks{"4711/0": {}}, point: object{"session_id": int64(4711)}, want: "4711/0"},
		"session that is over":                     {ranks: trainers, dead: "b", resource: object{"session_id": "b"}, point: object{}, want: "b/1"},
		"session without rank of another's device": {ranks: trainers, resource: object{"session_id": "a"}, point: dcgm("node", "1"), want: "a/0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(everyRule))
			for who, record := range tc.ranks {
				session, number, _ := strings.Cut(who, "/")
				rank, _ := fields(t, object{"n": number}).Integer(boundary.KeysOf(boundary.NewKeySet().Add("n")))
				c.runs(session, rank, 0, record)
				c.dead[boundary.RankKey{Session: session, Rank: rank}] = session == tc.dead
			}
			c.more[tc.more] = true
			match, finder := c.findOf(tc.metric, tc.resource, tc.point)
			assert.Equal(t, tc.want, said(match))
			if tc.tried != "" {
				assert.Equal(t, tc.tried, triedBy(finder, deviceRule))
			}
		})
	}
}

func TestNamedSessionAndRankAreKnownWhateverTheRules(t *testing.T) {
	for name, rules := range map[string][]Rule{
		"none": nil, "a representative": {forItsJob}, "devices": {byDevice}, "last": {byDevice, bySession},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(rules))
			c.runs("a", 0, 0, object{"host": "node", "device_id": int64(0), "job_id": "j"})
			c.runs("a", 1, 0, object{"host": "node", "device_id": int64(1), "job_id": "j"})
			match, _ := c.find(object{"session_id": "a", "rank": int64(1), "job_id": "j"}, dcgm("node", "0"))
			assert.Equal(t, "a/1", said(match))
		})
	}
}

func TestRepresentativeStandsForOneJob(t *testing.T) {
	type run struct {
		session string
		rank    int64
		dead    bool
	}
	for name, tc := range map[string]struct {
		runs  []run
		point object
		want  string
	}{
		"the smallest rank":            {runs: []run{{"b", 1, false}, {"a", 0, false}, {"c", 2, false}}, want: "a/0 for all"},
		"one rank":                     {runs: []run{{"b", 5, false}}, want: "b/5 for all"},
		"the smallest is over":         {runs: []run{{"b", 1, false}, {"a", 0, true}}, want: "b/1 for all"},
		"requeued, the first is over":  {runs: []run{{"a", 0, true}, {"b", 0, false}}, want: "b/0 for all"},
		"two jobs called none":         {runs: []run{{"a", 0, false}, {"b", 0, false}}, want: "a/0 or b/0 for all, several_ranks"},
		"two jobs, one of them broken": {runs: []run{{"a", 0, false}, {"a", 1, false}, {"b", 1, false}}, want: "a/0 or a/1 or b/1 for all, several_ranks"},
		"all are over":                 {runs: []run{{"a", 0, true}}, want: "none, unknown_session"},
		"of the session that it names": {
			runs:  []run{{"a", 0, false}, {"b", 0, false}, {"b", 1, false}},
			point: object{"session_id": "b"}, want: "b/0 for all",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf([]Rule{forItsJob}))
			for _, r := range tc.runs {
				o, _ := c.runs(r.session, r.rank, 0, object{"job_id": "none"})
				c.runs(r.session, r.rank, 0, object{"job_id": "none", "host": "node"}) // another presence
				c.dead[o.Rank] = r.dead
			}
			match, _ := c.find(object{"job_id": "none"}, tc.point)
			assert.Equal(t, tc.want, said(match))
		})
	}
}

func TestManyRanksAreNotListed(t *testing.T) {
	for _, tc := range []struct {
		ranks int
		want  string
	}{{maxTargets, "s/0"}, {maxTargets + 1, "unlisted"}} {
		for name, resource := range map[string]object{"job": {"job_id": "j"}, "session": {"session_id": "s"}} {
			t.Run(fmt.Sprint(name, " of ", tc.ranks), func(t *testing.T) {
				c := newCluster(t, associationOf(everyRule))
				for rank := range int64(tc.ranks) {
					c.runs("s", rank, 0, object{"host": "node", "device_id": rank, "job_id": "j"})
				}
				match, _ := c.find(resource, object{})
				assert.True(t, match.Ambiguous)
				assert.Equal(t, tc.want, strings.Split(strings.Split(said(match), " or ")[0], ",")[0])
				match, _ = c.find(resource, dcgm("node", "42"))
				assert.Equal(t, "s/42", said(match), "the device decides")
			})
		}
	}
}

func TestHostNamesMatchByTheirFirstLabel(t *testing.T) {
	for name, tc := range map[string]struct {
		hosts []string // of the ranks a/0, b/0, ..., each at device 0, 1, ...
		host  string
		want  string
	}{
		"equal":                          {[]string{"n1"}, "n1", "a/0"},
		"without case":                   {[]string{"N1.Example.com"}, "n1.example.COM", "a/0"},
		"short in telemetry":             {[]string{"n1.example.com"}, "n1", "a/0"},
		"short in boundary records":      {[]string{"n1"}, "n1.example.com", "a/0"},
		"another domain":                 {[]string{"n1.example.com"}, "n1.example.org", "none, unknown_session"},
		"short, of two hosts":            {[]string{"n1.example.com", "n1.example.org"}, "n1", "perhaps a/0, shared_device"},
		"short, and one of its ranks":    {[]string{"n1.example.com", "n1.example.com"}, "n1", "a/0"},
		"addresses match as a whole":     {[]string{"10.0.0.1"}, "10.0.0.2", "none, unknown_session"},
		"part of an address":             {[]string{"10.0.0.1"}, "10", "none, unknown_session"},
		"equal addresses":                {[]string{"10.0.0.1"}, "10.0.0.1", "a/0"},
		"another host of that prefix":    {[]string{"n10"}, "n1", "none, unknown_session"},
		"short, known in another domain": {[]string{"n1", "n1.example.com"}, "n1.example.org", "none, unknown_session"},
		"short, known in two domains":    {[]string{"n1", "n1.example.com", "n1.example.org"}, "n1.example.org", "perhaps a/0, shared_device"},
		"qualified, short one is over":   {[]string{"n1.example.com", "n1"}, "n1.example.com", "a/0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(everyRule))
			for i, host := range tc.hosts {
				c.runs(string(rune('a'+i)), 0, 0, object{"host": host, "device_id": int64(i)})
			}
			match, _ := c.find(nil, object{"Hostname": tc.host, "gpu": "0"})
			assert.Equal(t, tc.want, said(match))
		})
	}
}

func TestPlacesAreKnownByPresence(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	first, _ := c.runs("a", 0, 0, object{"host": "node", "pid": int64(10), "device_id": int64(-1)})
	later, _ := c.runs("a", 0, 0, object{"host": "node", "pid": int64(10), "device_id": int64(0)})
	other, _ := c.runs("a", 1, 0, object{"host": "node", "pid": int64(11), "device_id": int64(1)})
	at := func(gpu string) string {
		match, _ := c.find(nil, dcgm("node", gpu))
		return said(match)
	}
	assert.Equal(t, "a/0", at("0"), "a device that is known later than the rank")
	c.over[later] = true
	assert.Equal(t, "none, unknown_session", at("0"), "before it was there")
	delete(c.over, later)

	// After an elastic restart, the two have traded places.
	c.over[first], c.over[later], c.over[other] = true, true, true
	c.runs("a", 0, 1, object{"host": "node", "pid": int64(20), "device_id": int64(1)})
	c.runs("a", 1, 1, object{"host": "node", "pid": int64(21), "device_id": int64(0)})
	assert.Equal(t, "a/1", at("0"))
	assert.Equal(t, "a/0", at("1"))

	for _, o := range []boundary.Occupant{first, later, other} {
		c.RemovePresence(o)
		c.RemovePresence(o) // twice is once
	}
	assert.Equal(t, "a/1", at("0"))
	rank := boundary.RankKey{Session: "a", Rank: 1}
	c.Remove(rank, func(boundary.RankKey) bool { return true })
	assert.Equal(t, "a/1", at("0"), "it is registered again")
	c.Remove(rank, func(boundary.RankKey) bool { return false })
	assert.Equal(t, "none, unknown_session", at("0"))
	c.RemovePresence(boundary.Occupant{Rank: boundary.RankKey{Session: "a"}, Process: 1, Presence: 4})
	assert.Empty(t, c.locations)
	assert.Empty(t, c.owners)
	assert.Empty(t, c.hosts)
	for _, s := range c.spaces {
		assert.Zero(t, s.locations.Load())
	}
}

// TestDeviceOfAnotherHostDeniesNothing has two ranks that change hosts, so that their former
// processes, which were killed, count as alive for a while. Only some nodes' records have UUIDs.
func TestDeviceOfAnotherHostDeniesNothing(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	on := func(host string, pid, device int64) object {
		return object{"host": host, "pid": pid, "device_id": device}
	}
	uuid := func(text string) object { return object{"gpu_uuid": text} }
	former, _ := c.runs("a", 0, 0, with(on("node-a", 10, 0), uuid("GPU-node-a-0")))
	c.runs("a", 1, 0, on("node-b", 20, 0))
	c.runs("a", 0, 1, on("node-b", 30, 0))
	at := func(host, gpu string) string {
		match, _ := c.find(nil, dcgm(host, gpu))
		return said(match)
	}
	assert.Equal(t, "a/0 or a/1, shared_device", at("node-b", "0"))
	assert.Equal(t, "a/0", at("node-a", "0"))
	c.runs("a", 2, 0, with(on("node-a", 12, 1), uuid("GPU-node-a-1")))
	c.runs("a", 2, 1, on("node-b", 32, 1))
	assert.Equal(t, "perhaps a/2, shared_device", at("node-b", "1"), "its rank may be at work on the other host")
	c.over[former] = true
	assert.Equal(t, "a/0 or a/1, shared_device", at("node-b", "0"))

	c.runs("b", 0, 0, with(on("node-c", 10, 0), uuid("GPU-another")))
	c.runs("b", 0, 1, on("node-c", 11, 0))
	assert.Equal(t, "none, other_device", at("node-c", "0"), "a worker has the device of its rank")
}

func TestTelemetryOfARankNamesItsProcess(t *testing.T) {
	c := newCluster(t, associationOf([]Rule{bySession}))
	c.runs("a", 0, 0, object{"host": "node", "pid": int64(10)})
	resource := object{"session_id": "a", "rank": int64(0)}
	of := func(own object) string {
		match, _ := c.find(resource, own)
		return said(match)
	}
	assert.Equal(t, "a/0", of(object{"host.name": "node", "process.pid": int64(10)}), "its only process is its main one")
	worker, _ := c.runs("a", 0, 1, object{"host": "node", "pid": int64(11)})
	c.runs("a", 0, 1, object{"host": "node", "pid": int64(11), "device_id": int64(0)})
	c.runs("a", 0, 2, object{"host": "node", "pid": int64(1), "container_id": "ab"})
	assert.Equal(t, "a/0#0", of(object{"host.name": "node.example.com", "process.pid": int64(10)}))
	assert.Equal(t, "a/0#1", of(object{"host.name": "node", "process.pid": int64(11)}))
	assert.Equal(t, "a/0#2", of(object{"container.id": "docker://AB", "process.pid": int64(1)}))
	assert.Equal(t, "a/0#1", of(object{"process.pid": "11"}), "on whatever host")
	assert.Equal(t, "a/0", of(object{"process.pid": int64(1)}), "the first process of some container, on whatever host")
	assert.Equal(t, "a/0", of(object{"host.name": "node", "process.pid": int64(12)}), "a process that is not known")
	assert.Equal(t, "a/0", of(object{"host.name": "node"}), "no process")
	assert.Equal(t, "a/0", of(object{"host.name": "node", "process.pid": int64(1)}), "the first process of some container")
	c.over[worker] = true
	assert.Equal(t, "a/0#1", of(object{"host.name": "node", "process.pid": int64(11)}))

	resource = with(resource, object{"host.name": "node", "process.pid": int64(11)})
	assert.Equal(t, "a/0#1", of(object{}))
	assert.Equal(t, "a/0#0", of(object{"process.pid": int64(10)}), "the record's own attributes come first")
}

func TestProcessIsFoundByItsContainerOrPod(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	c.runs("a", 0, 0, object{"host": "train-0", "pid": int64(1), "container.id": "c0", "k8s.pod.uid": "p0"})
	c.runs("b", 0, 0, object{"host": "train-1", "pid": int64(9), "container.id": "c1", "k8s.pod.uid": "p1"})
	for name, tc := range map[string]struct {
		resource object
		want     string
	}{
		"container":           {object{"host.name": "node", "process.pid": int64(1), "container.id": "c0"}, "none, unknown_session"},
		"container, no host":  {object{"process.pid": int64(1), "container.id": "c0"}, "a/0#0"},
		"pod, no host":        {object{"process.pid": int64(9), "k8s.pod.uid": "P1"}, "b/0#0"},
		"another's container": {object{"host.name": "train-1", "process.pid": int64(9), "container.id": "c0"}, "none, unknown_session"},
	} {
		match, _ := c.find(tc.resource, object{})
		assert.Equal(t, tc.want, said(match), name)
	}
}

func TestProcessOfAnExporterIsNotOnTheHostOfADevice(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	c.runs("a", 0, 0, object{"host": "node", "pid": int64(9), "device_id": int64(0)})
	c.runs("b", 0, 0, object{"host": "node", "pid": int64(10), "device_id": int64(1)})
	for name, tc := range map[string]struct {
		resource, point object
		want            string
	}{
		"another host":         {object{"host.name": "exporter", "process.pid": int64(9)}, dcgm("node", "1"), "b/0"},
		"the same host":        {object{"host.name": "node.a", "process.pid": int64(9)}, object{"host": "node"}, "a/0#0"},
		"no host":              {object{"process.pid": int64(9)}, object{"host": "node"}, "a/0#0"},
		"a process of its own": {object{"host.name": "exporter"}, object{"host": "node", "pid": int64(9)}, "a/0#0"},
	} {
		match, _ := c.find(tc.resource, tc.point)
		assert.Equal(t, tc.want, said(match), name)
	}
}

func TestOtherOccupantsOfAnExclusivePlace(t *testing.T) {
	for name, tc := range map[string]struct {
		before, record object
		want           bool
	}{
		"process":                   {object{"host": "n", "pid": int64(9)}, object{"host.name": "N", "process.pid": "9"}, true},
		"first process of the host": {object{"host": "n", "pid": int64(1)}, object{"host": "n", "pid": int64(1)}, false},
		"first process of a pod":    {object{"host": "n", "pid": int64(1), "pod_uid": "p"}, object{"pid": int64(1), "pod_uid": "P"}, true},
		"of another pod":            {object{"host": "n", "pid": int64(1), "pod_uid": "p"}, object{"host": "n", "pid": int64(1), "pod_uid": "q"}, false},
		"device":                    {object{"host": "n", "device_id": int64(0)}, object{"host": "n.example.com", "device_id": "0"}, true},
		"device of another host":    {object{"host": "n.a", "device_id": int64(0)}, object{"host": "n.b", "device_id": int64(0)}, false},
		"the CPU":                   {object{"host": "n", "device_id": int64(-1)}, object{"host": "n", "device_id": int64(-1)}, false},
		"UUID":                      {object{"gpu_uuid": "GPU-1"}, object{"gpu_uuid": "1"}, true},
		"UUID in place of an index": {object{"gpu_uuid": "GPU-1"}, object{"device_id": "GPU-1"}, true},
		"PCI address":               {object{"host": "n", "pci_bus_id": "0000:3B:00.0"}, object{"host": "n", "pci_bus_id": "3b:00.0"}, true},
		"MIG instance":              {object{"gpu_uuid": "GPU-1", "gpu_instance_id": int64(7)}, object{"gpu_uuid": "GPU-1", "gpu_instance_id": "7"}, true},
		"another MIG instance":      {object{"gpu_uuid": "GPU-1", "gpu_instance_id": int64(7)}, object{"gpu_uuid": "GPU-1", "gpu_instance_id": "8"}, false},
		"pod":                       {object{"pod_uid": "p", "pod": "p"}, object{"pod_uid": "p", "pod": "p"}, false},
		"job":                       {object{"job_id": "j"}, object{"job_id": "j"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(nil)) // whatever the rules
			former, others := c.runs("a", 0, 0, tc.before)
			assert.Empty(t, others)
			_, others = c.runs("a", 0, 0, with(tc.before, object{"job_id": "k"}))
			assert.Empty(t, others, "the same process")
			_, others = c.runs("b", 0, 0, tc.record)
			assert.Equal(t, tc.want, slices.ContainsFunc(others, func(n Neighbor) bool { return n.Occupant == former }))
			if tc.want {
				assert.False(t, others[0].SameJob)
			}
		})
	}
}

// TestManyAtOnePlace has the visitors of a web server, which all have sessions of its
// process.
func TestManyAtOnePlace(t *testing.T) {
	const visitors = 300
	c := newCluster(t, associationOf(everyRule))
	for i := range visitors {
		o, others := c.runs(strconv.Itoa(i), 0, 0, object{"host": "web", "pid": int64(9)})
		assert.Len(t, others, min(i, maxNeighbors))
		if i > 0 {
			assert.Equal(t, strconv.Itoa(i-1), others[0].Rank.Session, "the newest neighbor of %v", o.Rank)
		}
	}
}

func TestNeighborsOfTheSameSessionOrJob(t *testing.T) {
	for name, tc := range map[string]struct {
		session       string
		former, later object
		want          bool
	}{
		"same session":   {"a", object{}, object{}, true},
		"same job":       {"b", object{"job_id": "7"}, object{"slurm.job.id": int64(7)}, true},
		"other job":      {"b", object{"job_id": "7"}, object{"job_id": "8"}, false},
		"no job":         {"b", object{}, object{}, false},
		"job of one one": {"b", object{"job_id": "7"}, object{}, false},
	} {
		c := newCluster(t, associationOf(nil))
		device := object{"host": "n", "device_id": int64(0)}
		c.runs("a", 0, 0, with(device, tc.former, object{"pid": int64(8)}))
		_, others := c.runs(tc.session, 0, 1, with(device, tc.later, object{"pid": int64(9)}))
		require.Len(t, others, 1, name)
		assert.Equal(t, tc.want, others[0].SameJob, name)
	}
}

func TestPresenceIsAddedOnce(t *testing.T) {
	a := associationOf(everyRule)
	o := boundary.Occupant{Rank: boundary.RankKey{Session: "a"}}
	id := a.Identity(fields(t, object{"host": "node", "device_id": int64(0)}))
	locations, _ := a.Add(o, id, nil)
	assert.Len(t, locations, 2, "the session and the device")
	changes := a.Changes()
	again, others := a.Add(o, id, nil)
	assert.Empty(t, again)
	assert.Empty(t, others)
	assert.Equal(t, changes, a.Changes())
	for _, location := range locations {
		assert.Equal(t, []boundary.RankKey{o.Rank}, a.At(location))
	}
}

func TestLocationIsReturnedIfNoRankIsKnownThere(t *testing.T) {
	process := func(pid int64) object { return object{"host.name": "node", "process.pid": pid} }
	for name, tc := range map[string]struct {
		point object
		dead  bool
		learn object // what a rank must say to be there; nil if there is no location
	}{
		"unknown process":                       {point: process(12), learn: object{"host": "node", "pid": int64(12)}},
		"unknown device":                        {point: object{"Hostname": "node", "gpu": "1"}, learn: object{"host": "node", "device_id": int64(1)}},
		"unknown device, by index before UUID":  {point: dcgm("node", "1"), learn: object{"host": "node", "device_id": int64(1)}},
		"unknown UUID":                          {point: object{"UUID": "GPU-1"}, learn: object{"gpu_uuid": "GPU-1"}},
		"unknown pod":                           {point: object{"pod": "p"}, learn: object{"k8s.pod.name": "p"}},
		"unknown device of an unknown pod":      {point: with(dcgm("node", "1"), object{"pod": "p"}), learn: object{"host": "node", "device_id": int64(1)}},
		"unknown session":                       {point: object{"session_id": "new"}, learn: object{}},
		"unknown session on a device":           {point: with(dcgm("node", "0"), object{"session_id": "new"}), learn: object{}},
		"unknown process and device":            {point: with(process(12), object{"gpu": "1"}), learn: object{"host": "node", "pid": int64(12)}},
		"unknown process of an unknown pod":     {point: object{"k8s.pod.uid": "p", "process.pid": int64(5)}, learn: object{"pod_uid": "p", "pid": int64(5)}},
		"unknown process of a known device":     {point: with(process(12), object{"gpu": "0"})},
		"unknown device of a dead process":      {point: with(process(10), object{"gpu": "1"}), dead: true},
		"known process":                         {point: process(10), dead: true},
		"process of a rank of another number":   {point: with(process(10), object{"rank": int64(4)})},
		"no keys":                               {point: object{"host.name": "node"}},
		"device that is not of this rank's pod": {point: with(dcgm("node", "0"), object{"pod": "x"})},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(everyRule))
			known, _ := c.runs("a", 3, 0, object{"host": "node", "pid": int64(10), "device_id": int64(0), "pod": "mine"})
			c.dead[known.Rank] = tc.dead
			match, _ := c.find(nil, tc.point)
			assert.Equal(t, tc.learn == nil, match.Location == nil)
			if tc.learn != nil {
				assert.Empty(t, match.Targets)
				location := string(match.Location)
				assert.Empty(t, c.At(location))
				o, _ := c.runs("new", 1, 0, tc.learn)
				assert.Equal(t, []boundary.RankKey{o.Rank}, c.At(location))
			}
		})
	}
}

func TestDeviceMapSaysWhoseDeviceItIs(t *testing.T) {
	devices := []Device{
		{Host: "node", Device: "GPU-7F", ToHost: "node", LocalRank: 1},
		{Host: "node", Device: "5", ToHost: "node", LocalRank: 0},
		{Host: "Node", Device: "00000000:3B:00.0", ToHost: "node", LocalRank: 1},
		{Host: "node", Device: "6", ToHost: "elsewhere", LocalRank: 0},
		{Host: "mig", Device: "0", Instance: "7", ToHost: "node", LocalRank: 0},
		{Host: "mig", Device: "GPU-5a1c", Instance: "8", ToHost: "node", LocalRank: 1},
		{Host: "mig", Device: "3", ToHost: "node", LocalRank: 1},
	}
	for name, tc := range map[string]struct {
		point object
		want  string
	}{
		"by UUID":                        {object{"Hostname": "node", "gpu": "0", "UUID": "GPU-7f"}, "b/1"},
		"by UUID without its prefix":     {object{"hostname": "node", "uuid": "7f"}, "b/1"},
		"by index":                       {object{"Hostname": "node", "gpu": 5.0}, "a/0"},
		"by PCI address":                 {object{"Hostname": "node.example.com", "gpu": "0", "pci_bus_id": "0000:3b:00.0"}, "b/1"},
		"on an unknown host":             {object{"Hostname": "node", "gpu": "6"}, "none, unknown_session"},
		"not in the map":                 {object{"Hostname": "node", "gpu": "0"}, "a/0"},
		"instance by index":              {object{"Hostname": "mig", "gpu": "0", "GPU_I_ID": int64(7)}, "a/0"},
		"instance by index, with a UUID": {object{"Hostname": "mig", "gpu": "0", "UUID": "GPU-5a1c", "GPU_I_ID": "7"}, "a/0"},
		"instance by UUID":               {object{"Hostname": "mig", "gpu": "0", "UUID": "GPU-5a1c", "GPU_I_ID": "8"}, "b/1"},
		"instance that is not mapped":    {object{"Hostname": "mig", "gpu": "0", "GPU_I_ID": "9"}, "none, unknown_session"},
		"device of a mapped instance":    {object{"Hostname": "mig", "gpu": "0"}, "perhaps a/0, shared_device"},
		"instance of a mapped device":    {object{"Hostname": "mig", "gpu": "3", "GPU_I_ID": "1"}, "perhaps b/1, shared_device"},
		"a GPU, as hw.id":                {object{"host.name": "node", "hw.id": "GPU-7f", "hw.type": "gpu"}, "b/1"},
		"another host in that domain":    {object{"Hostname": "node2", "gpu": "5"}, "none, unknown_session"},
		"a session of another number":    {object{"Hostname": "node", "gpu": "5", "session_id": "b"}, "b/1"},
		"without a host":                 {object{"UUID": "GPU-7f"}, "none, unknown_session"},
		"before the UUID of the record":  {object{"Hostname": "node", "gpu": "5", "UUID": "GPU-unknown"}, "a/0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(everyRule, devices...))
			c.runs("a", 0, 0, object{"host": "node", "device_id": int64(0), "local_rank": int64(0)})
			c.runs("b", 1, 0, object{"host": "node", "device_id": int64(1), "local_rank": int64(1)})
			match, _ := c.find(nil, tc.point)
			assert.Equal(t, tc.want, said(match))
		})
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	uuid := "GPU-5d3f0b3a-7b1e-4b43-9c0d-5a3f1e6c2d11"
	c := newCluster(t, associationOf(everyRule, Device{Host: "node-17.cluster.example.com", Device: "9", ToHost: "node", LocalRank: 1}))
	record := object{
		"host": "node-17.cluster.example.com", "pid": int64(12345), "device_id": int64(1000), "gpu_uuid": uuid, "job_id": "j",
	}
	c.runs("a", 0, 0, record)
	c.runs("b", 0, 0, with(record, object{"pid": int64(9), "gpu_uuid": "GPU-2"}))
	for name, record := range map[string]object{
		"whole rank":       {"session_id": "a", "rank": "0"},
		"session":          {"session_id": "a"},
		"process":          {"host.name": "node-17.cluster.example.com", "process.pid": int64(12345)},
		"device":           {"host.name": "node-17.cluster.example.com", "gpu": 1000.0},
		"UUID":             {"host.name": "node-17.cluster.example.com", "gpu": 1000.0, "UUID": uuid},
		"several":          {"job_id": "j"},
		"mapped device":    {"host.name": "node-17.cluster.example.com", "gpu": "9"},
		"unknown location": {"host.name": "node-17.cluster.example.com", "process.pid": int64(54321)},
	} {
		var f boundary.Fields
		f.ScanRecord(c.Keys, mapOf(t, record), pcommon.Map{})
		finder, ranks := newFinder(c.Association), Ranks(all{})
		assert.Zero(t, testing.AllocsPerRun(100, func() { finder.Find(&f, false, ranks) }), name)
	}
}

// A Finder remembers what it found, unless that can be another thing at another time.
func TestFinderSeesWhatChanges(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	first, _ := c.runs("a", 0, 0, object{"host": "node", "pid": int64(8), "device_id": int64(0)})
	finder := newFinder(c.Association)
	at := func(attributes object) string {
		f := scanned(t, finder, nil, attributes)
		var texts []string
		for range 3 {
			finder.Tried = [MaxRules][Outcomes]int64{}
			texts = append(texts, fmt.Sprint(said(*finder.Find(f, false, c)), finder.Tried))
		}
		assert.Equal(t, texts[0], texts[1])
		assert.Equal(t, texts[0], texts[2])
		return strings.Split(texts[0], "[[")[0]
	}
	assert.Equal(t, "a/0", at(dcgm("node", "0")))
	assert.Equal(t, "none, unknown_session", at(dcgm("node", "1")))
	c.over[first] = true
	assert.Equal(t, "none, unknown_session", at(dcgm("node", "0")))
	second, _ := c.runs("b", 0, 0, object{"host": "node", "pid": int64(9), "device_id": int64(0)})
	assert.Equal(t, "b/0", at(dcgm("node", "0")), "while the first one is not there")
	delete(c.over, first)
	assert.Equal(t, "a/0 or b/0, shared_device", at(dcgm("node", "0")))
	c.RemovePresence(second)
	assert.Equal(t, "a/0", at(dcgm("node", "0")))
	assert.Equal(t, "a/0", at(object{"session_id": "a"}))
	c.more["a"] = true
	assert.Equal(t, "perhaps a/0, several_ranks", at(object{"session_id": "a"}))
}

// all lets every rank answer.
type all struct{}

func (all) Live(*boundary.RankKey, time.Duration) bool { return true }
func (all) Interval(time.Duration) (from, to int64)    { return 0, 0 }

func (all) Present(*boundary.Occupant, time.Duration) bool { return true }
func (all) Session(_, _ string) (r []int64, all bool)      { return nil, true }

func TestInheritedRankIsThatOfTheScopeUnlessTheRecordDecides(t *testing.T) {
	scope := object{"session_id": "a", "rank": int64(3)}
	for name, tc := range map[string]struct {
		rules         []Rule
		scope, record object
		want          bool
	}{
		"scope names a rank":             {[]Rule{bySession}, scope, object{"gpu": "0"}, true},
		"scope names a session":          {[]Rule{bySession}, object{"session_id": "a"}, object{}, false},
		"scope names no session":         {[]Rule{bySession}, object{"rank": int64(3)}, object{}, false},
		"record names a session":         {[]Rule{bySession}, scope, object{"session_id": "b"}, false},
		"record names a rank":            {[]Rule{bySession}, scope, object{"rank": int64(4)}, false},
		"record names a UUID":            {[]Rule{bySession}, scope, object{"UUID": "GPU-1"}, false},
		"record names a process":         {[]Rule{bySession}, scope, object{"process.pid": int64(1)}, true},
		"scope names another UUID":       {[]Rule{bySession}, with(scope, object{"UUID": "GPU-2"}), object{}, false},
		"another rule comes first":       {[]Rule{byProcess, bySession}, scope, object{}, true},
		"the rule is a representative's": {[]Rule{{Keys: bySession.Keys, Representative: true}}, scope, object{}, false},
		"no rules":                       {nil, scope, object{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, associationOf(tc.rules))
			c.runs("a", 3, 0, object{"gpu_uuid": "GPU-1"})
			finder := newFinder(c.Association)
			var f boundary.Fields
			f.ScanScope(c.Keys, mapOf(t, tc.scope), pcommon.Map{})
			finder.SetScope(&f)
			f.ScanRecord(c.Keys, mapOf(t, tc.record), pcommon.Map{})
			target, ok := finder.Inherited(&f)
			require.Equal(t, tc.want, ok)
			if ok {
				assert.Equal(t, []Target{*target}, finder.Find(&f, false, c).Targets)
			}
		})
	}
}

func TestSenderIsReadFromAllThatAnEventSays(t *testing.T) {
	a := associationOf(append(everyRule, byField("partition")))
	reader := NewSenderReader(a)
	resource := mapOf(t, object{"host.name": "Node", "job_id": ""})
	scope := boundary.NewFields(pcommon.Map{}, pcommon.Map{}, pcommon.Map{}, resource)
	reader.SetScope(&scope)
	read := func(attributes, body object) Sender {
		f := boundary.NewFields(mapOf(t, attributes), mapOf(t, body), pcommon.Map{}, resource)
		sender := *reader.Read(&f)
		assert.Equal(t, a.Identity(&f).Print(), sender.Print)
		assert.Equal(t, a.Identity(&f), reader.Identity())
		return sender
	}
	first := read(object{"pid": int64(7), "device_id": int64(0), "world_size": int64(8), "step": int64(1)}, object{})
	assert.Equal(t, boundary.Process{Host: "node", PID: 7}, first.Process)
	assert.Equal(t, int64(8), first.WorldSize)
	assert.Equal(t, Identity{{FieldHost, "node"}, {FieldPID, "7"}, {FieldDevice, "0"}}, reader.Identity())
	for name, same := range map[string][2]object{
		"again":         {{"pid": int64(7), "device_id": int64(0), "world_size": int64(8), "step": int64(2)}, {}},
		"in the body":   {{"pid": " 7 "}, {"device_id": 0.0, "world_size": "8"}},
		"blank ones":    {{"pid": " ", "process.pid": int64(7), "device_id": nil}, {"device_id": "0"}},
		"its own host":  {{"host": "NODE", "pid": int64(7), "device_id": int64(0)}, {}},
		"of more ranks": {{"pid": int64(7), "device_id": int64(0), "world_size": int64(9)}, {}},
	} {
		assert.Equal(t, first.Print, read(same[0], same[1]).Print, name)
	}
	prints := map[uint64]bool{first.Print: true}
	for _, other := range []object{
		{},
		{"pid": int64(8), "device_id": int64(0)},
		{"pid": int64(7), "device_id": int64(1)},
		{"pid": int64(7)},
		{"pid": int64(7), "device_id": int64(0), "partition": "p"},
		{"pid": int64(0), "device_id": int64(7)},
	} {
		prints[read(other, object{}).Print] = true
	}
	assert.Len(t, prints, 7)
}

// TestRememberedRecordsAndRanksChangeWithTheAssociation asks one finder the same again.
func TestRememberedRecordsAndRanksChangeWithTheAssociation(t *testing.T) {
	a := associationOf(everyRule)
	finder := newFinder(a)
	find := func(point object) Match {
		m := finder.Find(scanned(t, finder, nil, point), false, all{})
		return Match{Targets: slices.Clone(m.Targets), Reason: m.Reason}
	}
	add := func(rank, presence int, uuid string) boundary.Occupant {
		o := boundary.Occupant{Rank: boundary.RankKey{Session: "a", Rank: int64(rank)}, Presence: int32(presence)}
		a.Add(o, a.Identity(fields(t, object{"host": "node", "device_id": int64(rank), "gpu_uuid": uuid})), nil)
		return o
	}
	named := func(rank int) object { return object{"session_id": "a", "rank": int64(rank), "UUID": "GPU-1"} }
	at := func(device string) object { return object{"Hostname": "node", "gpu": device} }
	of := func(o boundary.Occupant) []Target { return []Target{{o.Rank, boundary.MainProcess}} }

	assert.Equal(t, []Target{{boundary.RankKey{Session: "a", Rank: 1}, boundary.MainProcess}}, find(named(1)).Targets, "nothing is known")
	first, far := add(1, 0, "GPU-1"), add(1+ownerMemos, 0, "GPU-2") // the two share a place
	for range 2 {
		assert.Equal(t, of(first), find(named(1)).Targets)
		assert.Equal(t, OtherDevice, find(named(1+ownerMemos)).Reason)
		for device, o := range map[string]boundary.Occupant{"1": first, strconv.Itoa(1 + ownerMemos): far} {
			assert.Equal(t, of(o), find(at(device)).Targets)
		}
	}
	a.RemovePresence(first)
	add(1, 1, "GPU-3")
	assert.Equal(t, OtherDevice, find(named(1)).Reason, "it has another device now")
	a.Remove(far.Rank, func(boundary.RankKey) bool { return false })
	assert.Equal(t, of(far), find(named(1+ownerMemos)).Targets, "its device is no longer known")
	assert.Equal(t, UnknownRank, find(at(strconv.Itoa(1+ownerMemos))).Reason)
}

func TestAssociationMayBeChangedWhileItIsUsed(t *testing.T) {
	c := newCluster(t, associationOf(everyRule))
	record := func(i int64) Identity {
		return c.Identity(fields(t, object{"host": "node", "pid": 10 + i, "device_id": i % 8, "job_id": "j", "gpu_uuid": fmt.Sprint("GPU-", i%8)}))
	}
	var wg sync.WaitGroup
	for session := range 2 {
		wg.Go(func() {
			for i := range int64(200) {
				o := boundary.Occupant{Rank: boundary.RankKey{Session: strconv.Itoa(session), Rank: i % 16}, Presence: int32(i)}
				c.Add(o, record(i), nil)
				if i%3 == 0 {
					c.RemovePresence(o)
				}
				c.Remove(boundary.RankKey{Session: strconv.Itoa(session), Rank: (i + 7) % 16}, func(boundary.RankKey) bool { return i%2 == 0 })
			}
		})
		wg.Go(func() {
			finder := newFinder(c.Association)
			for i := range 200 {
				var f boundary.Fields
				f.ScanScope(c.Keys, pcommon.Map{}, mapOf(t, object{"hpc_job": "j"}))
				finder.SetScope(&f)
				for _, point := range []object{dcgm("node", strconv.Itoa(i%8)), {"session_id": "0", "rank": int64(i % 16)}} {
					f.ScanRecord(c.Keys, mapOf(t, point), pcommon.Map{})
					finder.Find(&f, false, all{})
				}
			}
		})
	}
	wg.Wait()
}
