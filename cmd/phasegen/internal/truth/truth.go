// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package truth writes which phase each process of a job was really in, and compares
// annotated telemetry with it.
package truth

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Separator joins the names of a path in annotations.
const Separator = " / "

// Causes of an interval that may not be known to a reader of the records.
const (
	AfterLost = "lost boundary"
	AfterLate = "late boundary"
	AfterKill = "kill"
)

// Interval is a time during which a process was in the same phase. Both ends count.
type Interval struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Path is the label of the phase. It is empty if there was none.
	Path string `json:"path"`
	// After is what happened to the event that began it, or empty.
	After string `json:"after,omitempty"`
}

// Process is a part of a process's intervals, in order: a line of a file.
type Process struct {
	Session string `json:"session"`
	Rank    int    `json:"rank"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	// GPU and UUID are those of the rank. A worker has them too, but its phases are not
	// those of the GPU.
	GPU    int    `json:"gpu"`
	UUID   string `json:"uuid"`
	Worker int    `json:"worker,omitempty"`
	// ClockOffset is how far the clock of the records is ahead.
	ClockOffset int64      `json:"clock_offset_ns,omitempty"`
	Intervals   []Interval `json:"intervals"`

	// unseen are the open scopes whose begin was lost or is late, by what happened to it.
	unseen map[*job.Scope]string
}

// perLine is how many intervals are on a line.
const perLine = 64

// Writer writes truth as JSON lines.
type Writer struct {
	job   *job.Job
	out   *bufio.Writer
	known map[processKey]*Process
	err   error
}

// processKey identifies a process, and those that replace it after a restart.
type processKey struct{ rank, worker int }

// NewWriter returns a writer of the truth about a job.
func NewWriter(out io.Writer, j *job.Job) *Writer {
	return &Writer{job: j, out: bufio.NewWriter(out), known: map[processKey]*Process{}}
}

// Add adds an event. Those of further threads change nothing. after is AfterLost or AfterLate if that is what happens to its record,
// or empty.
func (w *Writer) Add(e *job.Event, after string) {
	if e.Kind.Reading() || e.Kind == job.Sample || e.Scope != nil && e.Scope.Thread > 0 {
		return
	}
	p := w.process(e)
	if n := len(p.Intervals); n > 0 && p.Intervals[n-1].To == 0 {
		p.Intervals[n-1].To = e.At
		if n >= perLine {
			w.write(p)
		}
	}
	switch e.Kind {
	case job.Enter:
		if after != "" {
			p.unseen[e.Scope] = after
		}
		p.open(e.At, strings.Join(e.Scope.Path, Separator), after)
	case job.Exit:
		delete(p.unseen, e.Scope)
		after = cmp.Or(after, p.unseen[e.Scope.Parent])
		if e.Scope.Parent != nil {
			p.open(e.At, strings.Join(e.Scope.Parent.Path, Separator), after)
		} else if after != "" {
			p.open(e.At, "", after)
		}
	case job.Kill:
		p.open(e.At, "", AfterKill)
	}
}

func (p *Process) open(at int64, path, after string) {
	p.Intervals = append(p.Intervals, Interval{From: at, Path: path, After: after})
}

// process returns the process of an event. What its predecessor left open ends.
func (w *Writer) process(e *job.Event) *Process {
	key := processKey{e.Rank.Number, e.Process.Worker}
	p := w.known[key]
	if p != nil && p.PID == e.Process.PID {
		return p
	}
	if p != nil {
		w.end(p, e.At)
	}
	p = &Process{
		Session: w.job.Session, Rank: e.Rank.Number, Host: e.Rank.Host, PID: e.Process.PID,
		GPU: e.Rank.GPU, UUID: e.Rank.UUID, Worker: e.Process.Worker, ClockOffset: e.Rank.ClockOffset,
		unseen: map[*job.Scope]string{},
	}
	w.known[key] = p
	return p
}

// end ends the last interval of a process and writes what is left of it.
func (w *Writer) end(p *Process, at int64) {
	if n := len(p.Intervals); n > 0 && p.Intervals[n-1].To == 0 {
		p.Intervals[n-1].To = at
	}
	w.write(p)
}

func (w *Writer) write(p *Process) {
	if len(p.Intervals) == 0 || w.err != nil {
		return
	}
	line, err := json.Marshal(p)
	if err == nil {
		_, err = w.out.Write(append(line, '\n'))
	}
	w.err = err
	p.Intervals = p.Intervals[:0]
}

// Close ends all intervals at a time and writes what is left. It returns the first error
// of the writer.
func (w *Writer) Close(at int64) error {
	keys := slices.SortedFunc(maps.Keys(w.known), func(a, b processKey) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.worker, b.worker))
	})
	for _, key := range keys {
		w.end(w.known[key], at)
	}
	return cmp.Or(w.err, w.out.Flush())
}
