// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"hash/fnv"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Identity has the fields of a boundary record that locate its process, with their values
// in the form in which they compare.
type Identity []FieldText

// FieldText is a field of a boundary record with its value as text.
type FieldText struct{ Field, Text string }

// text returns the value of a field; empty if the record has none.
func (id Identity) text(field string) string {
	for i := range id {
		if id[i].Field == field {
			return id[i].Text
		}
	}
	return ""
}

// WithLocalDevice returns the identity with the local rank as the index of the device, unless
// it names one.
func (id Identity) WithLocalDevice() Identity {
	local := id.text(FieldLocalRank)
	if local == "" || slices.ContainsFunc(id, func(t FieldText) bool { return slices.Contains(DeviceFields(), t.Field) }) {
		return id
	}
	return append(id, FieldText{FieldDevice, local})
}

// process returns the process that the identity names.
func (id Identity) process() boundary.Process {
	return boundary.NewProcess(id.text(FieldHost), id.text(FieldPID), id.text(FieldContainer), id.text(FieldPodUID))
}

// Print returns a number that tells the identity from others. It is never 0, and the same
// after a restart.
func (id Identity) Print() uint64 {
	h := fnv.New64a()
	for _, t := range id {
		_, _ = h.Write([]byte(t.Field + "\x00" + t.Text + "\x00")) // it never fails
	}
	return max(h.Sum64(), 1)
}

// presenceBytes is about what a presence of the identity takes on the heap, with its places.
func (id Identity) presenceBytes() int32 {
	const presence, ofMarks, ofField, textsPerField = 400, 112, 60, 3
	bytes := presence
	for i := range id {
		bytes += ofField + textsPerField*len(id[i].Text)
	}
	if id.marks() != [marks]string{} {
		bytes += ofMarks
	}
	return int32(bytes)
}

// Sender is what the sender of an event says of itself.
type Sender struct {
	// Process is its process; the zero Process if it names none.
	Process boundary.Process
	// WorldSize is the number of ranks that its session or job has; 0 if it says nothing.
	WorldSize int64
	// Print is that of its Identity.
	Print uint64
	// Bytes is about what the presence takes that it identifies.
	Bytes int32
}

// cachedSenders bounds the senders that a SenderReader remembers.
const cachedSenders = 256

// SenderReader reads who sends events. Most events of a process say the same, so that it
// looks once at each attribute, and remembers what recent ones said. It is not safe for
// concurrent use.
type SenderReader struct {
	association *Association
	fields      boundary.Fields
	// scope tells what the scope and the resource say from other ones.
	scope  uint64
	recent [cachedSenders]knownSender
}

type knownSender struct {
	known  bool
	raw    uint64 // tells the event's values from other ones, as they are
	sender Sender
}

// NewSenderReader returns a reader of the senders of events.
func NewSenderReader(a *Association) *SenderReader { return &SenderReader{association: a} }

// SetScope sets the scope and the resource of the events that follow.
func (r *SenderReader) SetScope(fields *boundary.Fields) {
	r.fields.ScanSameScope(r.association.recordKeys, fields)
	r.scope = r.fields.Print(r.association.seed, r.association.recordMask)
}

// Read returns the sender of an event of the scope.
func (r *SenderReader) Read(fields *boundary.Fields) *Sender {
	r.fields.ScanSame(r.association.recordKeys, fields)
	raw := r.scope
	if r.fields.Own().Any(r.association.recordMask) {
		raw = r.fields.Print(r.association.seed, r.association.recordMask)
	}
	known := &r.recent[raw%cachedSenders]
	if !known.known || known.raw != raw {
		id := r.Identity()
		size, _ := r.fields.Integer(r.association.worldSize)
		*known = knownSender{true, raw, Sender{Process: id.process(), WorldSize: max(size, 0), Print: id.Print(), Bytes: id.presenceBytes()}}
	}
	return &known.sender
}

// Clear forgets the event that was read last and its scope, but not who the recent
// senders were.
func (r *SenderReader) Clear() { r.fields.Clear() }

// Identity returns the identity of the event that was read last. It does not refer to the
// record.
func (r *SenderReader) Identity() Identity { return r.association.identity(&r.fields) }

// Identity reads the fields that the rules use from a boundary record. The result does
// not refer to the record.
func (a *Association) Identity(f *boundary.Fields) Identity {
	var fields boundary.Fields
	fields.ScanSameScope(a.recordKeys, f)
	fields.ScanSame(a.recordKeys, f)
	return a.identity(&fields)
}

func (a *Association) identity(f *boundary.Fields) Identity {
	var id Identity
	for _, key := range a.recordFields {
		v, found := f.FindAny(key.names)
		if !found {
			continue
		}
		text, ok := boundary.Text(v)
		if !ok || len(text) > a.textBytes {
			continue
		}
		if text, ok = canonical(key.form, text); ok {
			id = append(id, FieldText{key.field, strings.Clone(text)})
		}
	}
	return id.withDevice()
}

// withDevice adds the UUID and the PCI address that stand in the place of an index.
func (id Identity) withDevice() Identity {
	i := slices.IndexFunc(id, func(t FieldText) bool { return t.Field == FieldDevice })
	if i < 0 {
		return id
	}
	device := id[i].Text
	switch {
	case isPCI(device) && id.text(FieldPCI) == "":
		return append(id, FieldText{FieldPCI, device})
	case isUUID(device) && id.text(FieldUUID) == "":
		return append(id, FieldText{FieldUUID, canonicalUUID(device)})
	}
	return id
}
