// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"net/netip"
	"strings"
)

// The names of what identifies a process, in boundary records and in telemetry.
const (
	fieldHost, fieldHostName         = "host", "host.name"
	fieldPID, fieldProcessPID        = "pid", "process.pid"
	fieldContainer, fieldContainerID = "container_id", "container.id"
	fieldPod, fieldPodUID            = "pod_uid", "k8s.pod.uid"
)

// Process identifies a process of a rank, as far as a record names it. The zero Process
// is unnamed.
type Process struct {
	// Host is in lower case; empty if not named.
	Host string
	// PID is 0 if not named.
	PID int64
	// Container and Pod are a container ID and a pod UID; empty if not named.
	Container, Pod string
	// Aside is true when the process works beside the main one of its rank, which is never
	// the same.
	Aside bool
}

// initPID is the process ID that every container has.
const initPID = 1

// Named reports whether the record names one process, not only where it runs. The first
// process of a container is known by the container only.
func (p Process) Named() bool {
	inContainer := p.Container != "" || p.Pod != ""
	return p.PID > initPID && (p.Host != "" || inContainer) || p.PID == initPID && inContainer
}

// IsUnnamed reports whether nothing of the process is named.
func (p Process) IsUnnamed() bool { return p == Process{Aside: p.Aside} }

// Fits reports whether a record that names p can come from a known process: what both
// name is the same.
func (p Process) Fits(known Process) bool {
	return p.Aside == known.Aside && (p.PID == 0 || known.PID == 0 || p.PID == known.PID) &&
		fits(p.Container, known.Container) && fits(p.Pod, known.Pod) &&
		(p.Host == "" || known.Host == "" || SameHost(p.Host, known.Host))
}

func fits(a, b string) bool { return a == "" || b == "" || a == b }

// Refine returns the process with what another name of it adds.
func (p Process) Refine(named Process) Process {
	named = named.Clone()
	if p.PID == 0 {
		p.PID = named.PID
	}
	if p.Container == "" {
		p.Container = named.Container
	}
	if p.Pod == "" {
		p.Pod = named.Pod
	}
	if len(named.Host) > len(p.Host) { // the fully qualified one
		p.Host = named.Host
	}
	return p
}

// Clone returns a copy that is not part of larger texts.
func (p Process) Clone() Process {
	p.Host, p.Container, p.Pod = strings.Clone(p.Host), strings.Clone(p.Container), strings.Clone(p.Pod)
	return p
}

// SharesHost reports whether two processes name a host, and it can be the same.
func (p Process) SharesHost(other Process) bool {
	return p.Host != "" && other.Host != "" && SameHost(p.Host, other.Host)
}

// IsElsewhere reports whether two processes name different hosts.
func (p Process) IsElsewhere(than Process) bool {
	return p.Host != "" && than.Host != "" && !SameHost(p.Host, than.Host)
}

// SameHost reports whether two names, in lower case, can be those of one host: they are
// equal, or one is the first label of the other. Addresses must be equal.
func SameHost(a, b string) bool {
	if a == b {
		return true
	}
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	return !strings.Contains(short, ".") && strings.HasPrefix(long, short+".") && !isAddress(long)
}

// FirstLabel returns the first label of a host name, in lower case, by which it is known
// in its domain. An address has no labels.
func FirstLabel(host string) string {
	label, _, qualified := strings.Cut(host, ".")
	if !qualified || isAddress(host) {
		return host
	}
	return label
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Process returns the process that a record names. Its texts do not refer to the record.
func (r *Reader) Process(f *Fields) Process {
	named := func(names ...string) string {
		for _, name := range names {
			if text, ok := scalar(f.getNamed(name)); ok && len(text) <= r.Limits.TextBytes {
				return text
			}
		}
		return ""
	}
	return NewProcess(
		named(fieldHost, fieldHostName), named(fieldPID, fieldProcessPID),
		named(fieldContainer, fieldContainerID), named(fieldPod, fieldPodUID),
	)
}

// NewProcess returns the process that is named by texts; an empty one names nothing.
func NewProcess(host, pid, container, pod string) Process {
	p := Process{
		Host:      strings.Clone(strings.ToLower(host)),
		Container: strings.Clone(Container(container)),
		Pod:       strings.Clone(strings.ToLower(pod)),
	}
	if number, ok := decimal(pid); ok && number > 0 {
		p.PID = number
	}
	if p.PID == initPID && p.Container == "" && p.Pod == "" {
		p.PID = 0 // every container has one
	}
	return p
}

// Container returns the ID of a container without the name of its runtime, in lower case.
func Container(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		id = bare
	}
	return strings.ToLower(id)
}

// Occupant is a process of a rank at the places of one of its presences. Process and
// Presence number those of the rank and of the process.
type Occupant struct {
	Rank              RankKey
	Process, Presence int32
}

// MainProcess stands for the process of a rank that answers for all telemetry that names
// no process.
const MainProcess int32 = -1
