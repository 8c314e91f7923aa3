// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// finderKeys are the keys that a Finder reads whatever the rules.
type finderKeys struct {
	host, pid, container, podUID *compiledKey
	device, uuid, pci, instance  *compiledKey
	namespace                    *compiledKey
	gpuUUID                      boundary.Keys // those of uuid that only GPUs have
	hardware, hardwareType       boundary.Key
	processMask, instanceMask    boundary.KeyMask
	deviceMask, jobMask          boundary.KeyMask
	marks                        [marks]*compiledKey
}

func (a *Association) finderKeys() finderKeys {
	k := finderKeys{
		host: a.known[FieldHost], pid: a.known[FieldPID], container: a.known[FieldContainer], podUID: a.known[FieldPodUID],
		device: a.known[FieldDevice], uuid: a.known[FieldUUID], pci: a.known[FieldPCI], instance: a.known[FieldInstance],
		namespace: a.known[FieldNamespace], hardware: a.hardware, hardwareType: a.hardwareType, gpuUUID: a.gpuUUID,
	}
	k.processMask = k.host.names.Mask() | k.pid.names.Mask() | k.container.names.Mask() | k.podUID.names.Mask()
	k.instanceMask = k.instance.names.Mask() | k.uuid.names.Mask()
	k.deviceMask = k.device.names.Mask() | k.uuid.names.Mask() | k.pci.names.Mask()
	k.jobMask = a.known[FieldJob].names.Mask()
	for m := range marks {
		k.marks[m] = a.known[m.field()]
	}
	return k
}

// record is the record at hand, and what has been read of it.
type record struct {
	texts   *texts
	fields  *boundary.Fields
	named   *boundary.Named
	present boundary.KeyMask
	// gpu reports whether the record is of a GPU, whatever names the hardware.
	gpu bool
	// location is the record's by the rule at hand, hostName and process what it says there
	// beside the location.
	location, scratch []byte
	hostName          string
	process           boundary.Process
	// check is set when marks are to be compared. marked and hasInstance are set once marks
	// and instance have been read.
	check, marked, hasInstance bool
	// isOwn is true when the record is one of the process itself, even if that works beside the
	// main one of its rank.
	isOwn    bool
	marks    [marks]string
	instance string
}

func (r *record) forget() {
	r.fields, r.named, r.hostName, r.process = nil, nil, "", boundary.Process{}
	r.marks, r.instance = [marks]string{}, ""
}

// begin begins with a record. gpu reports whether its metric is one of GPUs.
func (f *Finder) begin(fields *boundary.Fields, gpu bool) {
	f.fields, f.present = fields, fields.Present()
	f.gpu = gpu || f.present.Any(f.keys.hardware.Mask()) && f.isGPU()
	f.check = f.present.Any(boundary.KeyMask(f.association.marked.Load()))
	f.marked, f.hasInstance, f.instance = false, false, ""
}

// isGPU reports whether a record says that its hardware is a GPU.
func (f *Finder) isGPU() bool {
	v, found := f.fields.Find(f.keys.hardwareType)
	return found && v.Type() == pcommon.ValueTypeStr && strings.EqualFold(strings.TrimSpace(v.Str()), hardwareGPU)
}

// namesOf returns the attributes that hold a key of the record.
func (f *Finder) namesOf(key *compiledKey) boundary.Keys {
	if f.gpu {
		return key.names
	}
	return key.general
}

// has reports whether a record has attributes of a key.
func (f *Finder) has(key *compiledKey) bool {
	return f.present.Any(key.general.Mask()) || f.gpu && f.present.Any(key.names.Mask())
}

// appendKey appends the text that a key's value has in locations. It returns the whole
// name of a host.
func (f *Finder) appendKey(to []byte, key *compiledKey) (text []byte, host string, ok bool) {
	v, found := f.fields.FindAny(f.namesOf(key))
	if !found || key.form == uuidForm && f.gpu && isIndex(v) {
		return to, "", false
	}
	return f.texts.append(to, key.form, v)
}

// isIndex reports whether what may be a UUID is the index of a device: hw.id can be both.
func isIndex(v pcommon.Value) bool {
	return v.Type() != pcommon.ValueTypeStr || len(v.Str()) <= maxIndex
}

// text returns the canonical text of a key's value; empty if the record has none.
func (f *Finder) text(key *compiledKey) string {
	if !f.has(key) {
		return ""
	}
	v, found := f.fields.FindAny(f.namesOf(key))
	return f.textOf(key, v, found)
}

func (f *Finder) textOf(key *compiledKey, v pcommon.Value, found bool) string {
	if !found {
		return ""
	}
	text, ok := boundary.Text(v)
	if !ok || len(text) > f.texts.limit {
		return ""
	}
	if cached := f.texts.of(key.form, text); cached.ok {
		return cached.text
	}
	return ""
}

// instanceName returns the MIG instance that the record names, by its number or as the
// device; empty if it names none.
func (f *Finder) instanceName() string {
	if !f.hasInstance && f.present.Any(f.keys.instanceMask) {
		f.readInstance()
	}
	return f.instance
}

func (f *Finder) readInstance() {
	f.hasInstance = true
	if f.instance = f.text(f.keys.instance); f.instance != "" || !f.has(f.keys.uuid) {
		return
	}
	v, found := f.fields.FindAny(f.namesOf(f.keys.uuid))
	if found && v.Type() == pcommon.ValueTypeStr && isMIG(v.Str()) {
		f.instance = f.textOf(f.keys.uuid, v, true)
	}
}

// readMarks reads the marks that the record names.
func (f *Finder) readMarks() {
	if f.marked {
		return
	}
	f.marked = true
	for m := range marks {
		f.marks[m] = ""
		key := f.keys.marks[m]
		switch {
		case !f.has(key):
		case m == markInstance:
			f.marks[m] = f.instanceName()
		case m == markUUID:
			f.marks[m] = f.readUUID()
		case m.own():
			v, found := f.fields.FindOwn(key.names)
			f.marks[m] = m.text(f.textOf(key, v, found))
		default:
			f.marks[m] = f.text(key)
		}
	}
	if f.marks[markPod] == "" {
		f.marks[markNamespace] = "" // it is that of something else
	}
	if f.marks[markInstance] == "" {
		f.marks[markInstance] = f.instanceName()
	}
}

// readUUID returns the UUID of the record's device. An attribute that others than GPUs
// have is one only if it says so.
func (f *Finder) readUUID() string {
	if v, found := f.fields.FindAny(f.keys.gpuUUID); found {
		return f.textOf(f.keys.uuid, v, true)
	}
	v, found := f.fields.FindAny(f.namesOf(f.keys.uuid))
	if !found || v.Type() != pcommon.ValueTypeStr || !isGPUID(strings.TrimSpace(v.Str())) {
		return ""
	}
	return f.textOf(f.keys.uuid, v, true)
}

// contradicts reports whether a record names another one of the first kinds of marks than a
// rank is known to have at its time. If only those on other hosts than the presence that it may
// be about do, that is not sure. Without ranks, it reports true if that depends on the time.
func (f *Finder) contradicts(t *owner, at *presence, kinds mark, ranks Ranks) bool {
	if !f.check || t == nil {
		return false
	}
	f.readMarks()
	known := t.summary.Load()
	for m := range kinds {
		named := f.marks[m]
		if named == "" || known.marks[m] == "" || !known.mixed[m] && !m.contradicts(named, known.marks[m]) {
			continue
		}
		f.timed = f.timed || known.mixed[m] || known.processes
		if !known.mixed[m] && !known.processes || ranks == nil || f.isDenied(t, at, m, named, ranks) {
			return true
		}
	}
	return false
}

// isDenied reports whether a mark contradicts those of a rank's processes at the time of the
// record. One that is over by then may have had another device. One on another host may be a former
// one that seems alive, since hosts' clocks differ.
func (f *Finder) isDenied(t *owner, at *presence, m mark, named string, ranks Ranks) bool {
	denied, doubted := false, false
	for _, p := range t.all() {
		switch {
		case p.marks[m] == "":
		case !m.contradicts(named, p.marks[m]):
			if ranks.Present(&p.occupant, f.offset) {
				return false
			}
		case !denied:
			alive := slices.ContainsFunc(t.all(), func(q *presence) bool {
				return q.occupant.Process == p.occupant.Process && ranks.Present(&q.occupant, f.offset)
			})
			elsewhere := at != nil && p.process.IsElsewhere(at.process)
			denied, doubted = alive && !elsewhere, doubted || alive && elsewhere
		}
	}
	f.uncertain = f.uncertain || doubted && !denied
	return denied
}

// processOf returns the process of a rank that the record names, or boundary.MainProcess. Without
// ranks, it reports false if that depends on the time.
func (f *Finder) processOf(t *owner, ranks Ranks) (process int32, ok bool) {
	if t == nil || !t.summary.Load().processes && !f.isOwn || !f.present.Any(f.keys.processMask) {
		return boundary.MainProcess, true
	}
	named := f.readProcess() // among those of one rank, the ID alone may tell which it is
	if named.PID == 0 {
		return boundary.MainProcess, true
	}
	process, several := boundary.MainProcess, false
	for _, p := range t.all() {
		if !isProcess(named, p.process) || ranks != nil && process != boundary.MainProcess && !ranks.Present(&p.occupant, f.offset) {
			continue
		}
		several = several || process != boundary.MainProcess && process != p.occupant.Process
		process = p.occupant.Process
	}
	return process, !several || ranks != nil
}

// readProcess returns the process that the record names.
func (f *Finder) readProcess() boundary.Process {
	pid, _ := f.fields.Integer(f.keys.pid.names)
	return boundary.Process{
		Host: f.text(f.keys.host), PID: max(pid, 0), Container: f.text(f.keys.container), Pod: f.text(f.keys.podUID),
	}
}

// isProcess reports whether telemetry that names a process is of a known one, which names
// one as well. The first process of a container is known by the container or the pod only.
func isProcess(named, known boundary.Process) bool {
	same := func(a, b string) bool { return a != "" && a == b }
	return known.PID != 0 && named.Fits(known) &&
		(named.PID > 1 || same(named.Container, known.Container) || same(named.Pod, known.Pod))
}
