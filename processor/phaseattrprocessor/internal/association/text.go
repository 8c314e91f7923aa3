// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"hash/maphash"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// form is how the values of a field compare.
type form uint8

const (
	// plain values compare as text.
	plain form = iota
	hostForm
	// lowerForm values compare without case.
	lowerForm
	containerForm
	// deviceForm values are an index, a UUID or a PCI address.
	deviceForm
	uuidForm
	pciForm
)

func formOf(field string) form {
	switch field {
	case FieldHost:
		return hostForm
	case FieldPodUID:
		return lowerForm
	case FieldContainer:
		return containerForm
	case FieldDevice:
		return deviceForm
	case FieldUUID:
		return uuidForm
	case FieldPCI:
		return pciForm
	}
	return plain
}

const (
	gpuPrefix = "gpu-"
	migPrefix = "mig-"
)

// canonical returns the form of a text, without spaces around it, in which it compares. It
// returns false if the text is no value of that form.
func canonical(form form, text string) (string, bool) {
	switch form {
	case hostForm, lowerForm:
		return strings.ToLower(text), true
	case containerForm:
		return boundary.Container(text), true
	case deviceForm:
		return canonicalDevice(text)
	case uuidForm:
		return canonicalUUID(text), true
	case pciForm:
		return canonicalPCI(text)
	}
	return text, true
}

// canonicalDevice returns false for a negative index, which is the CPU's. A UUID cannot be
// taken for an index.
func canonicalDevice(text string) (string, bool) {
	switch {
	case text[0] == '-':
		return "", false
	case isUUID(text):
		return strings.ToLower(text), true
	case isPCI(text):
		return canonicalPCI(text)
	}
	return text, true
}

// canonicalUUID removes the prefix that NVIDIA's UUIDs of whole devices have with some
// tools only.
func canonicalUUID(text string) string {
	return strings.TrimPrefix(strings.ToLower(text), gpuPrefix)
}

// isUUID reports whether a text is a UUID by its form.
func isUUID(text string) bool {
	const length, dash = 36, 8
	return isGPUID(text) || len(text) == length && text[dash] == '-'
}

// isGPUID reports whether a text can only be the UUID of a device or of a MIG instance.
func isGPUID(text string) bool { return hasPrefixFold(text, gpuPrefix) || isMIG(text) }

// isMIG reports whether a text is the UUID of a MIG instance.
func isMIG(text string) bool {
	return text != "" && text[0]|0x20 != 'g' && hasPrefixFold(strings.TrimSpace(text), migPrefix)
}

func hasPrefixFold(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}

func isPCI(text string) bool { return strings.IndexByte(text, ':') > 0 }

// canonicalPCI returns an address with the shortest form of its domain, which is 0 unless
// it is named: "00000000:3B:00.0" and "3b:00.0" are "0:3b:00.0".
func canonicalPCI(text string) (string, bool) {
	if !isPCI(text) {
		return "", false
	}
	text = strings.ToLower(text)
	domain, device := "", text
	if strings.Count(text, ":") > 1 {
		domain, device, _ = strings.Cut(text, ":")
	}
	domain = strings.TrimLeft(domain, "0")
	if domain == "" {
		domain = "0"
	}
	return domain + ":" + device, true
}

// texts are cached in sets of some ways.
const (
	textSets = 64
	textWays = 4
)

// texts computes the canonical form of a value once, for as long as the value is among the
// recent ones. It is not safe for concurrent use.
type texts struct {
	seed maphash.Seed
	// limit bounds the length of a value, in bytes.
	limit int
	// host is the last host.
	host *cachedText
	sets [textSets]textSet
}

// textSet has the texts of one hash, and where the next one goes.
type textSet struct {
	texts [textWays]cachedText
	next  uint8
}

type cachedText struct {
	form form
	raw  string
	// text is the canonical form, label that which is part of locations.
	text, label string
	ok          bool
}

func newTexts(limit int) *texts { return &texts{seed: maphash.MakeSeed(), limit: limit} }

// of returns the canonical form of a text that is not blank.
func (t *texts) of(form form, raw string) *cachedText {
	if form == hostForm && t.host != nil && t.host.raw == raw {
		return t.host
	}
	set := &t.sets[maphash.String(t.seed, raw)%textSets]
	for i := range set.texts {
		if cached := &set.texts[i]; cached.form == form && cached.raw == raw {
			if form == hostForm {
				t.host = cached
			}
			return cached
		}
	}
	cached := &set.texts[set.next]
	set.next = (set.next + 1) % textWays
	raw = strings.Clone(raw) // it is part of telemetry
	text, ok := canonical(form, raw)
	*cached = cachedText{form, raw, text, text, ok}
	if form == hostForm {
		cached.label = boundary.FirstLabel(text)
	}
	return cached
}

// maxIndex is the length of the longest text that is not looked up: a short one of a
// device is an index.
const maxIndex = 3

// append appends the text that a value has in locations, and for a host returns its whole
// name. It returns false if the value is not one of that form.
func (t *texts) append(to []byte, form form, v pcommon.Value) (text []byte, host string, ok bool) {
	if v.Type() != pcommon.ValueTypeStr {
		start := len(to)
		if to, ok = boundary.AppendText(to, v); !ok || form == deviceForm && to[start] == '-' || form == pciForm {
			return to, "", false
		}
		if form == hostForm {
			host = string(to[start:])
		}
		return to, host, true
	}
	raw := strings.TrimSpace(v.Str())
	switch {
	case raw == "" || len(raw) > t.limit:
		return to, "", false
	case form == plain || form == deviceForm && len(raw) <= maxIndex:
		return append(to, raw...), "", form == plain || raw[0] != '-'
	}
	cached := t.of(form, raw)
	return append(to, cached.label...), cached.text, cached.ok
}
