// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sort"
)

// doubts are times, none of which touches another one, in order.
type doubts []doubt

// doubt is a time, its end not included.
type doubt struct{ from, to int64 }

// add adds a time that ends no earlier than the others.
func (d *doubts) add(from, to int64) {
	n := len(*d)
	for ; n > 0 && (*d)[n-1].to >= from; n-- {
		from, to = min(from, (*d)[n-1].from), max(to, (*d)[n-1].to)
	}
	if from < to {
		*d = append((*d)[:n], doubt{from, to})
	}
}

// after returns those that end after a moment.
func (d doubts) after(at int64) doubts {
	return d[sort.Search(len(d), func(i int) bool { return d[i].to > at }):]
}

// has reports whether a moment is in doubt.
func (d doubts) has(at int64) bool {
	after := d.after(at)
	return len(after) > 0 && after[0].from <= at
}

// within returns how much of the time between two moments is in doubt.
func (d doubts) within(from, to int64) (all uint64) {
	for _, x := range d.after(from) {
		if x.from >= to {
			break
		}
		all += distance(max(x.from, from), min(x.to, to))
	}
	return all
}

// endingAt returns the one that ends at a moment, nil if none does.
func (d doubts) endingAt(at int64) *doubt {
	if after := d.after(at - 1); len(after) > 0 && after[0].to == at {
		return &after[0]
	}
	return nil
}

// forget forgets those that ended before a time.
func (d *doubts) forget(floor int64) {
	*d = slices.DeleteFunc(*d, func(x doubt) bool { return x.to <= floor })
}
