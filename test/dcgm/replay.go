// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rank is a recorded run that is replayed on a GPU.
type rank struct {
	name    string
	number  string // as in labels
	host    string
	gpu     int
	stretch int64 // slows down the replay by this factor
	events  []event
	scopes  []scope

	origin int64 // the start of the capture, in recorded time
	known  int64 // when the first event, "start", was replayed
	base   int64 // when the replay of the other events began
}

// event is a line of a capture.
type event struct {
	at     int64
	fields map[string]any
}

// scope is one entered phase, in recorded time.
type scope struct {
	path     string
	depth    int
	from, to int64
}

// loadRank reads a capture to replay on a GPU, slowed down. It checks that the phases of
// the capture agree with the reference at each event.
func loadRank(t *testing.T, name string, gpu int, stretch int64) *rank {
	t.Helper()
	r := &rank{name: name, host: host, gpu: gpu, stretch: stretch}
	open := map[string]int{}
	eachLine(t, name+".jsonl", func(line []byte) {
		var boundary struct {
			Time     int64 `json:"timestamp_ns"`
			Metadata struct {
				Scope *struct {
					Action  string
					ScopeID string `json:"scope_id"`
					Path    []string
				} `json:"phase_scope"`
			}
		}
		require.NoError(t, json.Unmarshal(line, &boundary))
		e := event{at: boundary.Time}
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.UseNumber() // nanoseconds do not fit a double
		require.NoError(t, decoder.Decode(&e.fields))
		r.events = append(r.events, e)
		switch s := boundary.Metadata.Scope; {
		case s == nil:
		case s.Action == "enter":
			open[s.ScopeID] = len(r.scopes)
			r.scopes = append(r.scopes, scope{path: strings.Join(s.Path, " / "), depth: len(s.Path), from: e.at})
		default:
			r.scopes[open[s.ScopeID]].to = e.at
		}
	})
	r.origin = r.events[0].at

	recorded := func(at int64) int64 { return at }
	checked := 0
	eachLine(t, name+".expected.jsonl", func(line []byte) {
		var reference struct {
			Time        int64 `json:"timestamp_ns"`
			Rank        int
			Attribution struct {
				Path string `json:"phase_path"`
			}
		}
		require.NoError(t, json.Unmarshal(line, &reference))
		require.Equal(t, reference.Attribution.Path, r.deepest(reference.Time, recorded), "%s at %d", name, reference.Time)
		r.number = strconv.Itoa(reference.Rank)
		checked++
	})
	require.Len(t, r.events, checked)
	return r
}

func eachLine(t *testing.T, name string, do func(line []byte)) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "testdata", "captures", name)) //nolint:gosec // a capture
	require.NoError(t, err)
	for line := range bytes.Lines(content) {
		do(line)
	}
}

// deepest returns the path of the deepest phase that is active at a time, both ends
// inclusive, or an empty string. clock maps recorded time to the time of at.
func (r *rank) deepest(at int64, clock func(int64) int64) string {
	var deepest scope
	for _, s := range r.scopes {
		if clock(s.from) <= at && at <= clock(s.to) && s.depth > deepest.depth {
			deepest = s
		}
	}
	return deepest.path
}

// at returns the phase at a time of the replay.
func (r *rank) at(t time.Time) string {
	return r.deepest(t.UnixNano(), r.replayed)
}

// during returns the time spent in each phase between two times of the replay.
func (r *rank) during(from, to time.Time) map[string]time.Duration {
	cuts := []int64{from.UnixNano(), to.UnixNano()}
	for _, s := range r.scopes {
		for _, boundary := range []int64{r.replayed(s.from), r.replayed(s.to)} {
			if cuts[0] < boundary && boundary < cuts[1] {
				cuts = append(cuts, boundary)
			}
		}
	}
	slices.Sort(cuts)
	shares := map[string]time.Duration{}
	for i, end := range cuts[1:] {
		start := cuts[i]
		shares[r.deepest(start+(end-start)/2, r.replayed)] += time.Duration(end - start)
	}
	return shares
}

// replayed maps recorded time to the time of the replay.
func (r *rank) replayed(at int64) int64 {
	if at == r.origin {
		return r.known
	}
	return r.base + (at-r.origin)*r.stretch
}

// began and ended return when the first phase was entered and when the run ended.
func (r *rank) began() time.Time { return time.Unix(0, r.replayed(r.scopes[0].from)) }
func (r *rank) ended() time.Time { return time.Unix(0, r.replayed(r.events[len(r.events)-1].at)) }

// alive reports whether the run has begun and not ended.
func (r *rank) alive(at time.Time) bool {
	return !at.Before(time.Unix(0, r.known)) && !at.After(r.ended())
}

// announce writes the first event, which makes the rank known to the collector.
func (r *rank) announce(dir string) error {
	r.known = time.Now().UnixNano()
	return r.write(dir, r.events[0])
}

// replay writes the other events at their times.
func (r *rank) replay(ctx context.Context, dir string) error {
	for _, e := range r.events[1:] {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(time.Unix(0, r.replayed(e.at)))):
		}
		if err := r.write(dir, e); err != nil {
			return err
		}
	}
	return nil
}

// write appends an event to the run's file, as stormlog's sink does, with the time of the
// replay and the device of the rank.
func (r *rank) write(dir string, e event) error {
	e.fields["timestamp_ns"], e.fields["host"], e.fields["device_id"] = r.replayed(e.at), r.host, r.gpu
	line, err := json.Marshal(e.fields)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, r.name+".jsonl")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // a directory of the test
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
