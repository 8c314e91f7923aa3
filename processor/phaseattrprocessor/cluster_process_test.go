// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// mainThread is the ID of the main thread of every process; a fork inherits it.
const mainThread = 140_001

// node is a host of a cluster.
type node struct {
	name    string // in the records of its processes
	short   string
	domain  string
	skew    float64 // of its clock, in seconds
	gpus    int
	devices deviceNames
}

// deviceNames says how the records of a node's processes name their devices.
type deviceNames int

const (
	byIndex      deviceNames = iota // by the index that the exporter has
	byUUID                          // by index and UUID
	renumbered                      // by an index of their own and the UUID
	byLocalRank                     // by an index of their own; a device_map has the local rank
	deviceNaming                    // the number of ways
)

func (n *node) uuid(gpu int) string { return fmt.Sprintf("GPU-%s-%d", n.short, gpu) }

// device is the index of a GPU in the records of the node's processes.
func (n *node) device(gpu int) int64 {
	if n.devices == renumbered || n.devices == byLocalRank {
		return int64((gpu + 1) % n.gpus)
	}
	return int64(gpu)
}

// interval is a time in a phase, from its enter to its exit or the death of the process.
type interval struct {
	from, to float64
	path     string
}

// process is one process of a cluster, from its start to its end. All times are true
// times in seconds; only its records carry those of its host's clock.
type process struct {
	host    *node
	pid     int64
	gpu     int
	job     string
	session string
	rank    int64
	ranks   int64    // of the job
	trainer *process // of which it is a fork

	pulse       float64 // between two samples; 0 if it writes none
	statesPulse bool

	from, to  float64
	killed    bool // it ends without exits and a stop
	intervals []interval
	written   []written

	sequence int64
	open     []openScope
	random   jitter
}

// jitter draws the error of a clock reading, in seconds.
type jitter func() float64

// openScope is a scope on a process's stack.
type openScope struct {
	id       string
	path     []string
	interval int // in the process's intervals, or -1 if inherited
}

// written is a record as it was written at a true time.
type written struct {
	at       float64
	boundary bool
	fields   object
}

// isMain reports whether the process is not a fork of another one.
func (p *process) isMain() bool { return p.trainer == nil }

// clusterStart is when synctest's clock begins, in Unix time.
const clusterStart = 946_684_800_000_000_000

// stamp is what the clock of the process's host reads at a true time.
func (p *process) stamp(at float64) int64 {
	return clusterStart + int64((at+p.host.skew+p.random())*1e9)
}

func (p *process) write(at float64, kind string, metadata object) {
	fields := object{
		"session_id": p.session, "rank": p.rank, "local_rank": int64(p.gpu), "world_size": p.ranks, "host": p.host.name, "pid": p.pid,
		"device_id": p.host.device(p.gpu), "job_id": p.job, "timestamp_ns": p.stamp(at), "event_type": kind, "metadata": metadata,
	}
	if p.host.devices == byUUID || p.host.devices == renumbered {
		fields["gpu.uuid"] = p.host.uuid(p.gpu)
	}
	if p.pulse > 0 && p.statesPulse {
		fields["sampling_interval_ms"] = int64(p.pulse * 1000)
	}
	p.written = append(p.written, written{at, strings.HasPrefix(kind, "phase_"), fields})
}

// start and stop frame the life of a main process.
func (p *process) start() { p.write(p.from, "start", object{}) }

func (p *process) stop() { p.write(p.to, "stop", object{}) }

// samples writes a sample in every pulse.
func (p *process) samples() {
	if p.pulse == 0 {
		return
	}
	for at := p.from + p.pulse; at < p.to; at += p.pulse {
		p.write(at, "sample", object{})
	}
}

// dead reports whether the process has ended by a time.
func (p *process) dead(at float64) bool { return at >= p.to }

func (p *process) enter(at float64, name string) {
	if p.dead(at) {
		return
	}
	p.sequence++
	scope := openScope{id: fmt.Sprintf("%s:%d", p.session, p.sequence), interval: len(p.intervals)}
	var parent any
	if n := len(p.open); n > 0 {
		parent = p.open[n-1].id
		scope.path = slices.Clone(p.open[n-1].path)
	}
	scope.path = append(scope.path, name)
	p.open = append(p.open, scope)
	p.intervals = append(p.intervals, interval{at, p.to, strings.Join(scope.path, " / ")})
	p.boundary(at, "enter", &scope, parent)
}

func (p *process) exit(at float64) {
	if p.dead(at) {
		return
	}
	p.sequence++
	n := len(p.open) - 1
	scope := p.open[n]
	p.open = p.open[:n]
	p.intervals[scope.interval].to = at
	var parent any
	if n > 0 {
		parent = p.open[n-1].id
	}
	p.boundary(at, "exit", &scope, parent)
}

func (p *process) boundary(at float64, action string, scope *openScope, parent any) {
	path := make([]any, len(scope.path))
	for i, name := range scope.path {
		path[i] = name
	}
	p.write(at, "phase_"+action, object{"phase_scope": object{
		"action": action, "name": scope.path[len(path)-1], "path": path, "depth": int64(len(path)),
		"scope_id": scope.id, "parent_scope_id": parent, "sequence": p.sequence,
		"thread_id": int64(mainThread), "thread_name": "MainThread",
	}})
}

// fork copies the process as it is, as the fork of a data loader's worker does.
func (p *process) fork(at, to float64, pid int64) *process {
	child := *p
	child.pid, child.trainer = pid, p
	child.from, child.to, child.killed = at, to, true
	child.intervals, child.written, child.pulse = nil, nil, 0
	child.open = slices.Clone(p.open)
	for i := range child.open {
		child.open[i].interval = -1
	}
	return &child
}

// local is a reading's time on the process's own clock.
func (p *process) local(stamp float64) float64 { return stamp - p.host.skew }

// alive reports whether the process runs at a time of its host's clock.
func (p *process) alive(stamp float64) bool {
	at := p.local(stamp)
	return p.from <= at && at < p.to
}

// ended reports whether the process has run before.
func (p *process) ended(stamp float64) bool { return p.local(stamp) >= p.to }

// phase is the deepest phase that the process is in at a true time, or was in when it
// died; empty if there is none.
func (p *process) phase(at float64) string {
	at = min(at, math.Nextafter(p.to, 0))
	deepest := ""
	for _, i := range p.intervals {
		if i.from <= at && at < i.to {
			deepest = i.path // intervals are nested, in the order of their enters
		}
	}
	return deepest
}

// near reports whether a boundary, the start or the end of the process is no farther from
// a time than a distance.
func (p *process) near(stamp, distance float64) bool {
	at := p.local(stamp)
	within := func(t float64) bool { return math.Abs(at-t) <= distance }
	return within(p.from) || within(p.to) ||
		slices.ContainsFunc(p.intervals, func(i interval) bool { return within(i.from) || within(i.to) })
}

// nearLifeChange is like near, of its start and its end only.
func (p *process) nearLifeChange(stamp, distance float64) bool {
	at := p.local(stamp)
	return math.Abs(at-p.from) <= distance || math.Abs(at-p.to) <= distance
}

// lastWritten is the true time of the process's last record.
func (p *process) lastWritten() float64 {
	last := p.from
	for _, w := range p.written {
		last = max(last, w.at)
	}
	return last
}
