// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strconv"
	"strings"
)

// reading is a data point or a log record of a cluster, and the truth about it.
type reading struct {
	id         int64
	kind       string
	at         float64 // the true time
	stamp      float64 // on its host's clock
	resource   object
	attributes object
	job        string
	byJob      bool // it goes through the pipelines whose only rule is by job
	truth      truth
}

// The kinds of readings, by what they name.
const (
	kindRank           = "session, rank"
	kindRankUnderJob   = "session, rank; rule by job"
	kindSession        = "session"
	kindSessionDevice  = "session, host, GPU"
	kindForeign        = "foreign session, host, GPU"
	kindProcess        = "host, pid"
	kindFork           = "host, pid of a fork"
	kindDevice         = "host, GPU"
	kindUUID           = "UUID"
	kindRenumbered     = "UUID; renumbered"
	kindMapped         = "UUID; device_map"
	kindRepresentative = "job, representative"
	kindRecord         = "log record"
	kindRecordUnderJob = "log record; rule by job"
)

// mustBeClear are the kinds of which nearly all readings in a phase get it.
func mustBeClear() []string {
	return []string{
		kindRank, kindRankUnderJob, kindSessionDevice, kindProcess, kindFork, kindDevice, kindUUID, kindRenumbered, kindMapped,
		kindRepresentative, kindRecord, kindRecordUnderJob,
	}
}

// readingsPerKind is how often readings of a kind are drawn. Those too near a boundary
// are left out.
const readingsPerKind = 60

// readings draws data points of all kinds.
func (c *cluster) readings() []reading {
	var all []reading
	for range readingsPerKind {
		for _, draw := range []func() (reading, bool){
			c.rankReading, c.sessionReading, c.processReading, c.forkReading, c.deviceReading, c.jobReading,
		} {
			r, ok := draw()
			if !ok {
				continue
			}
			all = append(all, r)
			if r.kind == kindRank {
				all = append(all, r.underJob())
			}
		}
	}
	for i := range all {
		all[i].id = int64(i)
	}
	c.numberSamples(int64(len(all)))
	return all
}

// numberSamples gives the samples of the cluster's processes IDs too.
func (c *cluster) numberSamples(id int64) {
	for _, w := range c.written() {
		if w.fields["event_type"] == "sample" {
			w.fields["reading"] = id
			id++
		}
	}
}

// recordReadings are the samples, in the pipelines with rules by session and by job.
func (c *cluster) recordReadings() []reading {
	var all []reading
	for _, p := range c.processes {
		for _, w := range p.written {
			id, ok := w.fields["reading"].(int64)
			stamp := w.at + p.host.skew
			if !ok || p.near(stamp, 2*boundaryRange) { // two clock readings jitter
				continue
			}
			own := truth{paths: together([]*process{p}, stamp).paths, clear: true, asked: []*process{p}}
			all = append(all,
				reading{id: id, kind: kindRecord, stamp: stamp, truth: own},
				reading{id: id, kind: kindRecordUnderJob, stamp: stamp, truth: own, byJob: true})
		}
	}
	return all
}

// at draws a time in the life of a process, or sometimes before or after it.
func (c *cluster) at(p *process) float64 {
	if c.chance(0.2) {
		return c.between(max(0, p.from-3), p.to+15)
	}
	return c.between(p.from, p.to)
}

func (c *cluster) newReading(kind string, host *node, at float64) reading {
	return reading{kind: kind, at: at, stamp: at + host.skew, resource: object{}, attributes: object{}}
}

func (c *cluster) anyMain() *process {
	mains := c.mains(func(*process) bool { return true })
	return mains[c.random.IntN(len(mains))]
}

func (c *cluster) rankReading() (r reading, ok bool) {
	p := c.anyMain()
	r = c.newReading(kindRank, p.host, c.at(p))
	r.job = p.job
	r.resource["session_id"], r.resource["rank"] = p.session, p.rank
	r.truth, ok = c.truthOf(c.mains(func(q *process) bool { return q.session == p.session && q.rank == p.rank }), r.stamp)
	return r, ok
}

// underJob is a reading that names its job too, where the only rule is by job.
func (r reading) underJob() reading {
	r.kind, r.byJob = kindRankUnderJob, true
	r.attributes = object{"job_id": r.job}
	return r
}

func (c *cluster) sessionReading() (r reading, ok bool) {
	p := c.anyMain()
	at := c.at(p)
	session := c.mains(func(q *process) bool { return q.session == p.session })
	switch c.random.IntN(3) {
	case 0:
		r = c.newReading(kindSession, p.host, at)
		r.resource["session_id"] = p.session
		r.truth, ok = c.truthOf(session, r.stamp)
		if p.ranks > 1 && len(r.truth.paths) == 1 {
			r.truth.clear = false
		}
	case 1:
		r = c.newReading(kindSessionDevice, p.host, at)
		r.resource["session_id"] = p.session
		c.nameDevice(&r, p.host, p.gpu)
		r.truth, ok = c.truthOf(onDevice(session, p.host, p.gpu), r.stamp)
	default:
		r = c.newReading(kindForeign, p.host, at)
		r.resource["session_id"] = "nobody"
		c.nameDevice(&r, p.host, p.gpu)
		r.truth, ok = truth{clear: true}, true
	}
	return r, ok
}

// onDevice are the processes among these that run on a device.
func onDevice(processes []*process, host *node, gpu int) []*process {
	var found []*process
	for _, p := range processes {
		if p.host == host && p.gpu == gpu {
			found = append(found, p)
		}
	}
	return found
}

func (c *cluster) processReading() (r reading, ok bool) {
	p := c.anyMain()
	r = c.newReading(kindProcess, p.host, c.at(p))
	r.resource["host.name"], r.resource["process.pid"] = c.spelled(p.host), p.pid
	r.truth, ok = c.truthOf(c.mains(func(q *process) bool { return q.host == p.host && q.pid == p.pid }), r.stamp)
	return r, ok
}

func (c *cluster) forkReading() (r reading, ok bool) {
	p := c.processes[c.random.IntN(len(c.processes))]
	if p.isMain() {
		return r, false
	}
	r = c.newReading(kindFork, p.host, c.between(p.from, p.to))
	r.resource["host.name"], r.resource["process.pid"] = c.spelled(p.host), p.pid
	r.truth, ok = c.fork(p, r.stamp)
	return r, ok
}

func (c *cluster) deviceReading() (r reading, ok bool) {
	p := c.anyMain()
	host, gpu := p.host, p.gpu
	if c.chance(0.1) {
		gpu = c.random.IntN(host.gpus)
	}
	kind := [deviceNaming]string{kindDevice, kindUUID, kindRenumbered, kindMapped}[host.devices]
	r = c.newReading(kind, host, c.at(p))
	c.nameDevice(&r, host, gpu)
	r.truth, ok = c.truthOf(onDevice(c.mains(func(*process) bool { return true }), host, gpu), r.stamp)
	return r, ok
}

// nameDevice names a device as dcgm-exporter does. Where the records have UUIDs and
// indexes, it is often named by its UUID alone.
func (c *cluster) nameDevice(r *reading, host *node, gpu int) {
	r.attributes["UUID"] = host.uuid(gpu)
	if host.devices == byUUID && c.chance(0.5) {
		return
	}
	r.attributes["gpu"], r.attributes["Hostname"] = strconv.Itoa(gpu), c.spelled(host)
	if host.devices == byLocalRank {
		r.attributes["Hostname"] = host.name // as in the device_map
	}
}

// spelled is a host's name as another source may have it.
func (c *cluster) spelled(host *node) string {
	name := host.short
	if c.chance(0.5) {
		name += host.domain
	}
	if c.chance(0.3) {
		name = strings.ToUpper(name)
	}
	return name
}

func (c *cluster) jobReading() (r reading, ok bool) {
	p := c.anyMain()
	at := c.at(p)
	host := p.host
	for _, q := range c.mains(func(q *process) bool { return q.job == p.job && q.from <= at && at < q.to }) {
		if q.rank < p.rank { // it is by its clock that the job's phase is known
			p, host = q, q.host
		}
	}
	r = c.newReading(kindRepresentative, host, at)
	r.byJob = true
	r.attributes["job_id"] = p.job
	r.truth, ok = c.representative(p.job, r.stamp)
	return r, ok
}

// deviceMap is the configuration for the nodes that need one.
func (c *cluster) deviceMap() []DeviceMapping {
	var all []DeviceMapping
	for _, n := range c.nodes {
		for gpu := range n.gpus {
			if n.devices == byLocalRank {
				all = append(all, DeviceMapping{Host: n.name, Device: n.uuid(gpu), LocalRank: gpu})
			}
		}
	}
	return all
}
