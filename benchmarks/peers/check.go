// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
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

// phases are ranks by the two ways in which records name them.
type phases map[string]training.Rank

func newPhases(ranks []training.Rank) phases {
	p := phases{}
	for _, rank := range ranks {
		p[rank.Host()+"/"+strconv.Itoa(rank.GPU())] = rank
		p[rank.Session()+"/"+strconv.Itoa(rank.Number)] = rank
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
		rank, ok := p[first.AsString()+"/"+second.AsString()]
		if !ok {
			break
		}
		return has(r.attributes, rank.Path(r.at))
	}
	return fmt.Errorf("record of an unknown rank: %v", r.attributes.AsRaw())
}
