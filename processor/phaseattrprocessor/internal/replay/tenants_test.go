// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func runOf(tenant string, i int) boundary.RankKey {
	key := run("run", i)
	key.Tenant = tenant
	return key
}

// A tenant may use all that is free, but has to give back what another one's share is. Up to
// its share, a tenant loses nothing to another one.
func TestATenantThatTakesAllRanksGivesUpWhatIsAnothersShare(t *testing.T) {
	const most = 1000
	x := New(Options{Repair: true, MaxRanks: most})
	for i := range 2 * most {
		assert.Equal(t, i < most, x.enters(runOf("hostile", i), 1) == Accepted, i)
		x.Ingest().Observe(from(runOf("hostile visitors", i)), &Event{Time: 1})
	}
	for i := range most {
		// Of three tenants, visitors among them, each may have a third.
		assert.Equal(t, i < most/3, x.enters(runOf("other", i), 1) == Accepted, i)
		x.enters(runOf("hostile", 3*most+i), 1)
		x.Ingest().Observe(from(runOf("hostile visitors", 3*most+i)), &Event{Time: 1})
		if i < most/6 {
			visitor := runOf("other", -1-i)
			assert.Equal(t, Accepted, x.Ingest().Observe(from(visitor), &Event{Time: 1}).Outcome)
			for j := range i {
				assert.True(t, x.Has(runOf("other", -1-j)), j)
			}
		}
	}
	for i := range most / 3 {
		assert.True(t, x.Has(runOf("other", i)), i)
	}
	assert.Equal(t, most, x.Stats().Ranks)
}

// Nor can a tenant take the room for boundaries of another one, however small its ranks are.
func TestATenantThatTakesAllRoomGivesUpWhatIsAnothersShare(t *testing.T) {
	for name, options := range map[string]Options{
		"boundaries": {Repair: true, Tenants: true, MaxTotal: 2000},
		"bytes":      {Repair: true, Tenants: true, MaxBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			x := New(options)
			step := func(e *emitter, at int64, name string) {
				e.enterAt(at, name)
				e.exitAt(at + 1)
				e.send(x, boundary.Process{})
			}
			crowd := map[int]*emitter{}
			flood := func(at int64) {
				for i := range 300 {
					if crowd[i] == nil {
						crowd[i] = newEmitter(runOf("hostile", i))
					}
					step(crowd[i], at, "hostile")
				}
			}
			other := newEmitter(runOf("other", 0))
			for i := range 100 {
				flood(int64(1000 + 2*i))
				step(other, int64(1000+2*i), strconv.Itoa(i%7))
			}
			right := 0
			for i := range 100 {
				if scopes := active(x, other.rank, int64(1000+2*i), false); len(scopes) == 1 && scopes[0].Path.Label() == strconv.Itoa(i%7) {
					right++
				}
			}
			t.Logf("%d of 100 phases of the other tenant are known", right)
			assert.Equal(t, 100, right)
		})
	}
}
