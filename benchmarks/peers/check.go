// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// check runs a contender on copies of the batches. It returns an error unless all records
// are there afterwards and each passes the test.
func check[T any](s signal[T], batches []T, work func(T) error, is func(record) error) error {
	for _, batch := range batches {
		worked := s.clone(batch)
		if err := work(worked); err != nil {
			return err
		}
		before, after := 0, 0
		s.each(batch, func(record) { before++ })
		var wrong error
		s.each(worked, func(r record) {
			after++
			if err := is(r); err != nil {
				wrong = err
			}
		})
		if before != after {
			return fmt.Errorf("got %d of %d records", after, before)
		}
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// hasConstants checks that a record has the two attributes that the floor writes.
func hasConstants(r record) error { return has(r.attributes, constantPath) }

func has(attrs pcommon.Map, path string) error {
	for _, want := range [][2]string{{keyResolution, unique}, {keyPath, path}} {
		if got, _ := attrs.Get(want[0]); got == (pcommon.Value{}) || got.Str() != want[1] {
			return fmt.Errorf("want %s %q, got %v", want[0], want[1], attrs.AsRaw())
		}
	}
	return nil
}

// hasPod checks that the Kubernetes enricher has found the pod of a record.
func hasPod(r record) error {
	if _, ok := r.resource.Get(keyPodName); !ok {
		return fmt.Errorf("no %s in %v", keyPodName, r.resource.AsRaw())
	}
	return nil
}

// phases are the paths of readings, by the two ways in which records name their rank.
type phases map[string]string

func key(first, second string, at pcommon.Timestamp) string {
	return fmt.Sprintf("%s/%s/%d", first, second, at)
}

// newPhases returns the phases of readings of a job.
func newPhases(j *job.Job, batches [][]*job.Event) phases {
	p := phases{}
	for _, readings := range batches {
		for _, e := range readings {
			path, at := strings.Join(e.Scope.Path, " / "), pcommon.Timestamp(e.At) //nolint:gosec // not negative
			p[key(e.Rank.Host, strconv.Itoa(e.Rank.GPU), at)] = path
			p[key(j.Session, strconv.Itoa(e.Rank.Number), at)] = path
		}
	}
	return p
}

// check checks that a record has the phase that its rank was in.
func (p phases) check(r record) error {
	for _, identity := range []struct {
		attrs pcommon.Map
		keys  [2]string
	}{
		{r.resource, [2]string{"session_id", "rank"}},
		{r.attributes, [2]string{"Hostname", "gpu"}},
	} {
		first, ok := identity.attrs.Get(identity.keys[0])
		second, ok2 := identity.attrs.Get(identity.keys[1])
		if !ok || !ok2 {
			continue
		}
		path, ok := p[key(first.AsString(), second.AsString(), r.at)]
		if !ok {
			break
		}
		return has(r.attributes, path)
	}
	return fmt.Errorf("record of an unknown rank or time: %v", r.attributes.AsRaw())
}
