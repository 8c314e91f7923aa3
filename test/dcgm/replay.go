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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rank is a recorded run, on a GPU, at the time of the test.
type rank struct {
	name    string
	host    string
	gpu     int
	stretch int64 // how much slower than it was recorded
	events  []event
	scopes  []scope

	origin int64 // when the capture begins, in its own time
	known  int64 // when the first event, "start", was replayed
	base   int64 // when the rest of the replay began
}

// event is a line of a capture.
type event struct {
	at     int64
	fields map[string]any
}

// scope is one entered phase, in the capture's own time.
type scope struct {
	path     string
	depth    int
	from, to int64
}

// loadRank reads a capture, to be replayed on a GPU and slower than it was. Its phases
// are those that the reference's answers rest on: at each of the capture's events, they
// give the answer that the reference gave.
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
			Attribution struct {
				Path string `json:"phase_path"`
			}
		}
		require.NoError(t, json.Unmarshal(line, &reference))
		require.Equal(t, reference.Attribution.Path, r.deepest(reference.Time, recorded), "%s at %d", name, reference.Time)
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

// deepest is the path of the deepest phase that is active at a time, both ends of a
// phase included; empty where there is none. clock says when what the capture holds
// happened.
func (r *rank) deepest(at int64, clock func(int64) int64) string {
	var deepest scope
	for _, s := range r.scopes {
		if clock(s.from) <= at && at <= clock(s.to) && s.depth > deepest.depth {
			deepest = s
		}
	}
	return deepest.path
}

// at is the phase at a time of the replay.
func (r *rank) at(t time.Time) string {
	return r.deepest(t.UnixNano(), r.replayed)
}

// during shares the time between two times of the replay among the phases that it was
// spent in.
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

// replayed is when an event of the capture happens in the replay.
func (r *rank) replayed(at int64) int64 {
	if at == r.origin {
		return r.known
	}
	return r.base + (at-r.origin)*r.stretch
}

// began and ended are when the first phase was entered, and when the run was over.
func (r *rank) began() time.Time { return time.Unix(0, r.replayed(r.scopes[0].from)) }
func (r *rank) ended() time.Time { return time.Unix(0, r.replayed(r.events[len(r.events)-1].at)) }

// announce writes the first event, by which the collector knows of the run.
func (r *rank) announce(dir string) error {
	r.known = time.Now().UnixNano()
	return r.write(dir, r.events[0])
}

// replay writes the other events as their times come.
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

// write appends an event to the run's file, as stormlog's sink does, with the time of
// the replay and the device that the rank uses.
func (r *rank) write(dir string, e event) error {
	e.fields["timestamp_ns"], e.fields["host"], e.fields["device_id"] = r.replayed(e.at), r.host, r.gpu
	line, err := json.Marshal(e.fields)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, r.name+".jsonl")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // a folder of the test
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
