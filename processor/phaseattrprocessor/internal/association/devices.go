// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"slices"
	"strconv"
	"strings"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// Device is an entry of the device map, for hosts on which the training program numbers
// its devices differently from the telemetry.
type Device struct {
	// Host and Device are the telemetry's values; Device is an index, a UUID or a PCI
	// address. Instance is a MIG instance of the device; empty for the whole device.
	Host, Device, Instance string
	// ToHost and LocalRank are the boundary records' values.
	ToHost    string
	LocalRank int
}

// mappedDevice is an entry of the device map, prepared for lookups.
type mappedDevice struct {
	host, instance string
	// toHost and place are where the device's rank is: the place is a location without its
	// space and tenant.
	toHost, place string
}

// addDevices compiles the device map.
func (a *Association) addDevices(devices []Device) {
	a.mapped = &space{} // without locations
	if len(devices) == 0 {
		return
	}
	a.mapped = a.space([]string{FieldHost, FieldLocalRank})
	for _, d := range devices {
		device := mappedDevice{host: strings.ToLower(strings.TrimSpace(d.Host)), instance: strings.TrimSpace(d.Instance)}
		device.toHost = strings.ToLower(strings.TrimSpace(d.ToHost))
		device.place, _ = a.location(a.mapped, "", Identity{
			{FieldHost, device.toHost}, {FieldLocalRank, strconv.Itoa(d.LocalRank)},
		}, boundary.Process{})
		device.place = device.place[len(a.mapped.appendTo(nil, "")):]
		form, name := deviceNamed(strings.TrimSpace(d.Device))
		key := boundary.FirstLabel(device.host) + string([]byte{0, byte(form)}) + name
		a.devices[key] = append(a.devices[key], device)
	}
}

// deviceNamed returns what a text names a device by, and its canonical form.
func deviceNamed(text string) (by form, name string) {
	switch {
	case isUUID(text):
		by = uuidForm
	case isPCI(text):
		by = pciForm
	default:
		by = deviceForm
	}
	name, _ = canonical(by, text)
	return by, name
}

// mapDevice sets f.entries to those of the device map for the record's device: those of
// its UUID, then those of its PCI address, then those of its index.
func (f *Finder) mapDevice() {
	f.entries = f.entries[:0]
	var ok bool
	f.scratch, f.hostName, ok = f.appendKey(f.scratch[:0], f.keys.host)
	if !ok {
		return
	}
	host := len(f.scratch)
	for _, key := range [...]*compiledKey{f.keys.uuid, f.keys.pci, f.keys.device} {
		if !f.has(key) {
			continue
		}
		if f.scratch, _, ok = f.appendKey(append(f.scratch[:host], 0, byte(key.form)), key); !ok {
			continue
		}
		for _, d := range f.association.devices[string(f.scratch)] {
			if f.onHost(d) {
				f.entries = append(f.entries, d)
			}
		}
	}
}

func (f *Finder) onHost(d mappedDevice) bool { return boundary.SameHost(d.host, f.hostName) }

// findMapped adds the ranks of the record's device by the device map. It reports false
// when the map does not have the device.
func (f *Finder) findMapped(ranks Ranks) (mapped bool) {
	f.mapDevice()
	if len(f.entries) == 0 {
		return false
	}
	instance := f.instanceName()
	host := f.hostName
	collect := func(d mappedDevice) {
		f.hostName = d.toHost
		f.location = append(f.association.mapped.appendTo(f.location[:0], f.tenant), d.place...)
		f.collect(f.association.mapped, maxTargets+1, ranks)
	}
	if i := slices.IndexFunc(f.entries, func(d mappedDevice) bool { return d.instance == instance }); i >= 0 {
		collect(f.entries[i])
	} else {
		// A device without the instance, or an instance without the device, is not sure.
		f.uncertain = true
		for _, d := range f.entries {
			if d.instance == "" || instance == "" {
				collect(d)
			}
		}
	}
	f.hostName = host
	return true
}
