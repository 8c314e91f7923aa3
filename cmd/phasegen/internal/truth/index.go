// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Index finds the intervals of what telemetry names.
type Index struct {
	byUUID   map[string]*timeline
	byDevice map[device]*timeline
	byPID    map[process]*timeline
	byRank   map[rank]*timeline
}

type (
	device  struct{ host, index string }
	process struct{ host, pid string }
	rank    struct{ session, number string }
)

// timeline has the intervals of a rank or of a process.
type timeline struct {
	intervals   []Interval // by time
	clockOffset int64
}

// Read reads the lines of a [Writer].
func Read(in io.Reader) (*Index, error) {
	x := &Index{
		map[string]*timeline{}, map[device]*timeline{}, map[process]*timeline{}, map[rank]*timeline{},
	}
	decoder := json.NewDecoder(in)
	lines := 0
	for {
		var p Process
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF) && lines == 0:
			return nil, errors.New("no truth")
		case errors.Is(err, io.EOF):
			return x, nil
		case err != nil:
			return nil, fmt.Errorf("truth, after %d lines: %w", lines, err)
		}
		lines++
		x.add(&p)
	}
}

func (x *Index) add(p *Process) {
	appendTo(x.byPID, process{p.Host, strconv.Itoa(p.PID)}, p)
	if p.Worker > 0 {
		return
	}
	appendTo(x.byUUID, strings.ToLower(p.UUID), p)
	appendTo(x.byDevice, device{p.Host, strconv.Itoa(p.GPU)}, p)
	appendTo(x.byRank, rank{p.Session, strconv.Itoa(p.Rank)}, p)
}

func appendTo[K comparable](index map[K]*timeline, key K, p *Process) {
	t := index[key]
	if t == nil {
		t = &timeline{clockOffset: p.ClockOffset}
		index[key] = t
	}
	t.intervals = append(t.intervals, p.Intervals...)
}

// find returns the timeline of what telemetry names. attribute returns the value of the
// first attribute that it has.
func (x *Index) find(attribute func(names ...string) string) *timeline {
	if session := attribute("session_id"); session != "" {
		return x.byRank[rank{session, attribute("rank")}]
	}
	if t := x.byUUID[strings.ToLower(attribute("UUID", "gpu.uuid"))]; t != nil {
		return t
	}
	host := attribute("Hostname", "host.name", "host")
	if t := x.byDevice[device{host, attribute("gpu", "hw.id", "device_id")}]; t != nil {
		return t
	}
	return x.byPID[process{host, attribute("process.pid", "pid")}]
}

// at returns the intervals that contain a time: two at a boundary, none outside all.
func (t *timeline) at(time int64) []Interval {
	first, _ := slices.BinarySearchFunc(t.intervals, time, func(i Interval, at int64) int {
		if i.To < at {
			return -1
		}
		return 1
	})
	last := first
	for last < len(t.intervals) && t.intervals[last].From <= time {
		last++
	}
	return t.intervals[first:last]
}
