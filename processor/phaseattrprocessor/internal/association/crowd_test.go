// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

// allocated returns how many bytes a function allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestLeavingACrowdedPlaceTakesNoCopyOfIt(t *testing.T) {
	const crowd, perPresence = 4000, 200
	c := newCluster(t, associationOf(everyRule))
	occupants := make([]boundary.Occupant, crowd)
	for i := range occupants {
		occupants[i], _ = c.runs(strconv.Itoa(i), 0, 0, object{"host": "node", "pid": int64(i + 1), "device_id": int64(0)})
	}
	took := allocated(func() {
		for _, o := range occupants {
			c.Remove(o.Rank, func(boundary.RankKey) bool { return false })
		}
	})
	t.Logf("%d sessions have left a device: %d bytes each", crowd, took/crowd)
	assert.Less(t, took, uint64(crowd*perPresence))
	assert.Empty(t, c.locations)
	assert.Empty(t, c.owners)
}

func TestPresencesOfARankTakeNoCopyOfItsOthers(t *testing.T) {
	const processes, perPresence = 2000, 8000
	c := newCluster(t, associationOf(everyRule))
	took := allocated(func() {
		for i := range int32(processes) {
			c.runs("run", 0, i, object{"host": "node", "pid": int64(i + 1)})
		}
	})
	t.Logf("%d processes of a rank: %d bytes each", processes, took/processes)
	assert.Less(t, took, uint64(processes*perPresence))
}

// Hosts of many domains may have the same name, so that a newcomer looks at no more than a
// bound of them to find those that may be at the same place.
func TestFewOthersAreLookedAtToFindNeighbors(t *testing.T) {
	for others, found := range map[int]bool{maxNeighbors: true, maxVisited - 1: true, maxVisited: false} {
		c := newCluster(t, associationOf(everyRule))
		former, _ := c.runs("former", 0, 0, object{"host": "node.site", "device_id": int64(0)})
		for i := range others {
			_, neighbors := c.runs(strconv.Itoa(i), 0, 0, object{"host": fmt.Sprint("node.d", i), "device_id": int64(0)})
			require.Empty(t, neighbors)
		}
		_, neighbors := c.runs("newcomer", 0, 0, object{"host": "node.site", "device_id": int64(0)})
		if !found {
			assert.Empty(t, neighbors, "%d others", others)
			continue
		}
		require.Len(t, neighbors, 1, "%d others", others)
		assert.Equal(t, former, neighbors[0].Occupant)
	}
}

// Presences come and go in any order: what is known of locations and ranks is that of those
// that are left.
func TestWhatIsKnownIsThatOfThePresencesThatAreLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := newCluster(t, associationOf(everyRule))
	left := map[boundary.Occupant]object{}
	pick := func() (o boundary.Occupant) {
		for o = range left { // any
			return o
		}
		return o
	}
	for range 3000 {
		switch n := r.IntN(10); {
		case n < 5 || len(left) == 0:
			record := object{"host": fmt.Sprint("node", r.IntN(3)), "pid": 1 + r.Int64N(40)}
			if r.IntN(2) == 0 {
				record["device_id"] = r.Int64N(2)
			}
			if r.IntN(8) == 0 {
				record["gpu_uuid"] = fmt.Sprint("GPU-", r.IntN(2))
			}
			o, _ := c.runs(strconv.Itoa(r.IntN(4)), r.Int64N(2), r.Int32N(3), record)
			left[o] = record
		case n < 8:
			o := pick()
			c.RemovePresence(o)
			c.RemovePresence(o)
			delete(left, o)
		case n == 8:
			of := pick()
			c.RemoveProcess(of.Rank, of.Process)
			for o := range left {
				if o.Rank == of.Rank && o.Process == of.Process {
					delete(left, o)
				}
			}
		default:
			of := pick()
			c.Remove(of.Rank, func(boundary.RankKey) bool { return false })
			for o := range left {
				if o.Rank == of.Rank {
					delete(left, o)
				}
			}
		}

		fresh := newCluster(t, associationOf(everyRule))
		for o, record := range left {
			fresh.Add(o, fresh.Identity(fields(t, record)), nil)
		}
		require.Len(t, c.locations, len(fresh.locations))
		for location := range fresh.locations {
			require.ElementsMatch(t, fresh.At(location), c.At(location))
			here := c.locations[location]
			require.LessOrEqual(t, stale*here.removed, len(here.presences))
		}
		require.Len(t, c.owners, len(fresh.owners))
		for rank, want := range fresh.owners {
			got := c.owners[rank]
			require.Len(t, got.all(), len(want.all()))
			a, b := got.summary.Load(), want.summary.Load()
			require.Equal(t, b.processes, a.processes)
			require.Equal(t, b.mixed, a.mixed)
			for m := range marks {
				if !b.mixed[m] {
					require.Equal(t, b.marks[m], a.marks[m], m.field())
				}
			}
		}
		for i, s := range fresh.spaces {
			require.Equal(t, s.locations.Load(), c.spaces[i].locations.Load())
		}
	}
}

// More ranks than are listed are unlisted, whichever rule finds them.
func TestManyRanksOfARepresentativeOrAMappedDeviceAreNotListed(t *testing.T) {
	mapped := Device{Host: "node", Device: "5", ToHost: "node", LocalRank: 0}
	for name, tc := range map[string]struct {
		association func() *Association
		point       object
	}{
		"jobs of one name": {func() *Association { return associationOf([]Rule{forItsJob}) }, object{"job_id": "none"}},
		"a mapped device":  {func() *Association { return associationOf([]Rule{byDevice}, mapped) }, dcgm("node", "5")},
		"a device":         {func() *Association { return associationOf([]Rule{byDevice}) }, dcgm("node", "0")},
	} {
		for _, ranks := range []int{maxTargets, maxTargets + 1} {
			c := newCluster(t, tc.association())
			for i := range ranks {
				c.runs(strconv.Itoa(i), 0, 0, object{"host": "node", "device_id": int64(0), "local_rank": int64(0), "job_id": "none"})
			}
			match, _ := c.find(object{}, tc.point)
			assert.True(t, match.Ambiguous, name)
			assert.Equal(t, ranks > maxTargets, match.Unlisted, "%s: %d ranks", name, ranks)
			if ranks <= maxTargets {
				assert.Len(t, match.Targets, ranks, name)
			} else {
				assert.Empty(t, match.Targets, name)
			}
		}
	}
}

// countedRanks counts how often it is asked whether a presence answers.
type countedRanks struct {
	*cluster
	asked int
}

func (r *countedRanks) Present(o *boundary.Occupant, offset time.Duration) bool {
	r.asked++
	return r.cluster.Present(o, offset)
}

// Of many sessions with ranks of the same number, one more than are listed decides.
func TestFewSessionsOfOneNumberAreLookedAt(t *testing.T) {
	const sessions = 1000
	for _, rule := range []Rule{forItsJob, {Keys: byDevice.Keys, Representative: true}} {
		c := newCluster(t, associationOf([]Rule{rule}))
		for i := range sessions {
			for range 3 { // at three places each
				c.runs(strconv.Itoa(i), 0, 0, object{"host": "node", "device_id": int64(0), "job_id": "none"})
			}
		}
		ranks := &countedRanks{cluster: c}
		finder := newFinder(c.Association)
		match := finder.Find(scanned(t, finder, object{"job_id": "none"}, dcgm("node", "0")), false, ranks)
		assert.True(t, match.Unlisted)
		assert.Less(t, ranks.asked, 10*maxTargets)
	}
}

// Once a rank has been found, its other processes at the location are not looked at.
func TestOfARankWithManyProcessesFewAreLookedAt(t *testing.T) {
	c := newCluster(t, associationOf([]Rule{byDevice, forItsJob}))
	for process := range int32(1000) {
		c.runs("run", 0, process, object{"host": "node", "pid": int64(100 + process), "device_id": int64(0), "job_id": "job"})
	}
	for name, point := range map[string]object{
		"its device": dcgm("node", "0"), "its job": {"job_id": "job"}, "its session": {"session_id": "run"},
	} {
		ranks := &countedRanks{cluster: c}
		finder := newFinder(c.Association)
		match := finder.Find(scanned(t, finder, nil, point), false, ranks)
		require.Len(t, match.Targets, 1, name)
		assert.False(t, match.Ambiguous, name)
		assert.Less(t, ranks.asked, 10, name)
	}
}

// A worker that is left behind answers no longer for its rank, though it did a moment before.
func TestARankThatIsOutlivedIsNotRemembered(t *testing.T) {
	c := newCluster(t, associationOf([]Rule{byDevice}))
	c.runs("run", 0, 1, object{"host": "node", "pid": int64(2), "device_id": int64(0)})
	c.runs("run", 0, 0, object{"host": "node", "pid": int64(1), "device_id": int64(0)})
	ranks := &outlived{cluster: c}
	finder := newFinder(c.Association)
	f := scanned(t, finder, nil, dcgm("node", "0"))
	require.Len(t, finder.Find(f, false, ranks).Targets, 1)
	ranks.over = true
	assert.Empty(t, finder.Find(f, false, ranks).Targets)
}

// outlived are ranks of which forked workers are present, which cannot answer once they are over.
type outlived struct {
	*cluster
	over bool
}

func (r *outlived) Live(rank *boundary.RankKey, offset time.Duration) bool {
	return !r.over && r.cluster.Live(rank, offset)
}

// alive are ranks whose presences are there from one time to another.
type alive struct {
	*cluster
	since, last map[boundary.Occupant]int64
	at          int64
	asked       int
}

func (r *alive) Interval(time.Duration) (from, to int64) { return r.at, r.at }

func (r *alive) Present(o *boundary.Occupant, _ time.Duration) bool {
	r.asked++
	return r.since[*o] <= r.at && r.at <= r.last[*o]
}

// Passing over those that are not there saves questions, and changes no answer.
func TestLifespansChangeNoAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	points := []object{
		dcgm("node", "0"), dcgm("node.a", "0"), dcgm("node", "1"),
		{"Hostname": "node", "gpu": "0", "UUID": "GPU-1"},
		{"job_id": "job"},
		{"session_id": "0"},
		{"session_id": "1", "job_id": "job"},
		{"host.name": "node", "process.pid": int64(100)},
		{"k8s.pod.name": "pod", "rank": int64(0)},
	}
	all, few := 0, 0
	for range 200 {
		plain := &alive{cluster: newCluster(t, associationOf(everyRule)), since: map[boundary.Occupant]int64{}, last: map[boundary.Occupant]int64{}}
		bounded := &alive{cluster: newCluster(t, associationOf(everyRule)), since: plain.since, last: plain.last}
		for i := range rng.Int32N(30) {
			o := boundary.Occupant{
				Rank:    boundary.RankKey{Session: strconv.Itoa(rng.IntN(4)), Rank: rng.Int64N(2)},
				Process: rng.Int32N(2), Presence: i,
			}
			record := object{"host": []string{"node", "node.a", "node.b"}[rng.IntN(3)], "device_id": rng.Int64N(2), "pid": 100 + rng.Int64N(3)}
			for _, also := range [][2]string{{"gpu_uuid", "GPU-1"}, {"gpu_uuid", "GPU-2"}, {"job_id", "job"}, {"pod_name", "pod"}} {
				if rng.IntN(4) == 0 {
					record[also[0]] = also[1]
				}
			}
			plain.since[o] = rng.Int64N(100)
			plain.last[o] = plain.since[o] + rng.Int64N(50)
			plain.Add(o, plain.Identity(fields(t, record)), nil)
			bounded.Add(o, bounded.Identity(fields(t, record)), boundary.NewLifespan(plain.since[o], plain.last[o]))
		}
		one, two := newFinder(plain.Association), newFinder(bounded.Association)
		for range 100 {
			point := points[rng.IntN(len(points))]
			plain.at = rng.Int64N(150)
			bounded.at = plain.at
			want := one.Find(scanned(t, one, nil, point), true, plain)
			got := two.Find(scanned(t, two, nil, point), true, bounded)
			if want.Location != nil { // it has a space's number
				want.Location, got.Location = []byte{}, got.Location[:0]
			}
			require.Equal(t, want, got, "%v at %d", point, plain.at)
		}
		all += plain.asked
		few += bounded.asked
	}
	assert.Less(t, few, all)
}
