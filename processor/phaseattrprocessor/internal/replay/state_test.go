// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStateOfAnInterval(t *testing.T) {
	const begin, newest = 100, 200
	alive, ended := New(Options{}), New(Options{})
	for _, x := range []*Index{alive, ended} {
		x.Ingest().Observe(from(rank0), &Event{Time: begin})
	}
	alive.Ingest().Observe(from(rank0), &Event{Time: newest})
	ended.Ingest().Observe(from(rank0), &Event{Time: newest, Kind: Stop})
	for name, tc := range map[string]struct {
		index    *Index
		from, to int64
		want     State
	}{
		"unknown rank":               {New(Options{}), begin, newest, State{}},
		"before the first event":     {alive, begin - 2, begin - 1, State{Known: true}},
		"from before to the first":   {alive, begin - 1, begin, State{Known: true, Live: true}},
		"between the events":         {alive, begin, newest, State{Known: true, Live: true}},
		"to after the newest":        {alive, begin, newest + 1, State{Known: true, Live: true, Behind: true}},
		"after the newest":           {alive, newest + 1, newest + 2, State{Known: true, Live: true, Behind: true}},
		"to the end":                 {ended, begin, newest, State{Known: true, Live: true}},
		"from the end on":            {ended, newest, newest + 1, State{Known: true, Live: true}},
		"after the end":              {ended, newest + 1, newest + 2, State{Known: true}},
		"a moment before the newest": {alive, begin + 1, begin + 1, State{Known: true, Live: true}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.index.Handle(rank0).At(tc.from, tc.to))
			assert.Equal(t, !tc.want.Behind, tc.index.Reached(rank0, tc.to))
			assert.Equal(t, tc.want.Known, tc.index.Has(rank0))
		})
	}
}
