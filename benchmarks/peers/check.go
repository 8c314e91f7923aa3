// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/benchmarks/internal/training"
)

// check lets a contender work on copies of batches, and returns an error unless every
// record of them then is as it should be.
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
			return fmt.Errorf("%d of %d records went on", after, before)
		}
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// isConstant tells whether a record has the two attributes that the floor writes.
func isConstant(r record) error { return has(r.attributes, constantPath) }

func has(attrs pcommon.Map, path string) error {
	for _, want := range [][2]string{{keyResolution, unique}, {keyPath, path}} {
		if got, _ := attrs.Get(want[0]); got == (pcommon.Value{}) || got.Str() != want[1] {
			return fmt.Errorf("%s is to be %q: %v", want[0], want[1], attrs.AsRaw())
		}
	}
	return nil
}

// hasPod tells whether the Kubernetes enricher has found the pod of a record.
func hasPod(r record) error {
	if _, ok := r.resource.Get(keyPodName); !ok {
		return fmt.Errorf("there is no %s: %v", keyPodName, r.resource.AsRaw())
	}
	return nil
}

// answers knows the phases of ranks by what the records of theirs are called.
type answers map[string]training.Rank

func newAnswers(ranks []training.Rank) answers {
	a := answers{}
	for _, rank := range ranks {
		a[rank.Host()+"/"+strconv.Itoa(rank.GPU())] = rank
		a[rank.Session()+"/"+strconv.Itoa(rank.Number)] = rank
	}
	return a
}

// is tells whether a record has the answer that it should have.
func (a answers) is(r record) error {
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
		rank, ok := a[first.AsString()+"/"+second.AsString()]
		if !ok {
			break
		}
		return has(r.attributes, rank.Path(r.at))
	}
	return fmt.Errorf("whose record is it? %v", r.attributes.AsRaw())
}
