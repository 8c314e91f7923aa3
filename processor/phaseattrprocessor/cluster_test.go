// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// clustersByDefault is how many clusters a test generates; CLUSTERS sets another number, SEED the
// first one's seed.
const clustersByDefault = 20

// arrival says when the records of a cluster and its readings reach the pipelines.
type arrival struct {
	name string
	// event and reading return the arrival of a record and of a reading by its true time.
	event, reading func(random *rand.Rand, at float64) float64
	// inOrder says whether the arrival of a record implies that of all earlier ones.
	inOrder bool
}

// arrivals are the ways to deliver all boundaries within the grace period.
func arrivals() []arrival {
	return []arrival{
		{
			// The records of every two seconds, for which stormlog's sink keeps them, arrive
			// together, half a second later. Readings arrive before them and wait.
			"readings wait",
			func(_ *rand.Rand, at float64) float64 { return 2*float64(int(at/2)) + 2.5 },
			func(_ *rand.Rand, at float64) float64 { return float64(int(at)) + 1.25 },
			true,
		},
		{
			// Records arrive in any order, readings after all records of their time.
			"records shuffled",
			func(random *rand.Rand, at float64) float64 { return float64(int(4*(at+3*random.Float64())))/4 + 0.25 },
			func(_ *rand.Rand, at float64) float64 { return float64(int(at)) + 6.1 },
			false,
		},
	}
}

// TestClustersGetNoWrongPhase loses nothing. All telemetry is on its rank's clock, all
// boundaries arrive within the grace period, and none is nearer to a reading than the
// clocks jitter.
func TestClustersGetNoWrongPhase(t *testing.T) {
	const leastRight = 0.93 // in 20 clusters; over 200 of them no kind is below 0.95
	results := annotateClusters(t, 0)
	t.Log(results)
	assert.Zero(t, results.all().counts[wrongUnique], "wrong phases, such as\n%s", results.shownWrong())
	for _, kind := range mustBeClear() {
		assert.GreaterOrEqual(t, results.of(kind).shareRight(), leastRight, "share of the clear readings of kind %q that are right", kind)
	}
}

// TestClustersThatLoseBoundariesGetFewWrongPhases loses 1% of the boundaries. The next
// boundary shows that one was lost; a log record of the process itself does not wait for
// it.
func TestClustersThatLoseBoundariesGetFewWrongPhases(t *testing.T) {
	const (
		lost      = 0.01
		mostWrong = 0.001
	)
	results := annotateClusters(t, lost)
	t.Log(results)
	assert.LessOrEqual(t, results.all().shareWrong(), mostWrong, "share of wrong phases, such as\n%s", results.shownWrong())
}

// annotateClusters sends clusters through the pipelines, with a share of the boundaries
// lost, and judges all answers.
func annotateClusters(t *testing.T, lost float64) clusterResults {
	t.Helper()
	parts := make([]clusterResults, fromEnvironment(t, "CLUSTERS", clustersByDefault))
	first := fromEnvironment(t, "SEED", 0)
	ways := arrivals()
	t.Run("cluster", func(t *testing.T) {
		for i := range parts {
			seed := first + i
			way := ways[seed%len(ways)]
			t.Run(fmt.Sprint(seed, ", ", way.name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { parts[i] = judgeCluster(t, uint64(seed), way, lost) })
			})
		}
	})
	all := clusterResults{}
	for _, part := range parts {
		all.merge(part)
	}
	return all
}

// fromEnvironment returns the number in an environment variable.
func fromEnvironment(t *testing.T, variable string, byDefault int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	return n
}

func judgeCluster(t *testing.T, seed uint64, way arrival, lost float64) clusterResults {
	t.Helper()
	c := newCluster(seed)
	readings := c.readings()
	answers := c.annotate(t, way, readings, lost)
	if way.inOrder {
		readings = append(readings, c.recordReadings()...)
	}
	results := clusterResults{}
	for _, r := range readings {
		got, ok := answers[r.byJob][r.id]
		require.True(t, ok, "reading %d did not come out", r.id)
		results.add(t.Name(), c, &r, got)
	}
	return results
}

// annotate returns the answers by the ID of the reading, without and with rules by job.
func (c *cluster) annotate(t *testing.T, way arrival, readings []reading, lost float64) map[bool]map[int64]answer {
	t.Helper()
	ranks := startPipelines(t, withGrace, func(cfg *Config) { cfg.DeviceMap = c.deviceMap() })
	jobs := startPipelines(t, withGrace, onlyByJob)
	now := 0.0
	for _, d := range c.deliveries(way, readings, lost) {
		time.Sleep(time.Duration((d.at - now) * float64(time.Second)))
		now = d.at
		d.sendTo(t, ranks, jobs)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	ranks.shutdown(t)
	jobs.shutdown(t)
	return map[bool]map[int64]answer{false: ranks.answers(), true: jobs.answers()}
}

// answers are those of all readings that came out, by ID.
func (p *pipelines) answers() map[int64]answer {
	found := map[int64]answer{}
	for _, md := range p.metricsSink.AllMetrics() {
		for _, attributes := range attributesOfMetrics(md) {
			found[attributes["reading"].(int64)] = answerOf(attributes)
		}
	}
	for _, ld := range p.logsSink.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, record := range rl.ScopeLogs().At(0).LogRecords().All() {
				if id, ok := record.Body().Map().Get("reading"); ok {
					found[id.Int()] = answerOf(record.Attributes().AsRaw())
				}
			}
		}
	}
	return found
}

func answerOf(attributes object) answer {
	resolution, _ := attributes["phase_resolution"].(string)
	path, _ := attributes["phase_path"].(string)
	return answer{resolution, path}
}

// onlyByJob is the README's rule for jobs of which one rank reports phases.
func onlyByJob(cfg *Config) {
	cfg.Association = []AssociationRule{{Keys: []AssociationKey{{Field: "job_id", Names: []string{"job_id"}}}, Representative: true}}
}

// parcel has everything that arrives at one time.
type parcel struct {
	at       float64
	events   []object
	readings []reading
}

// deliveries sorts everything by its arrival. Some records come twice.
func (c *cluster) deliveries(way arrival, readings []reading, lost float64) []*parcel {
	const twice = 0.05
	parcels := map[float64]*parcel{}
	at := func(when float64) *parcel {
		if parcels[when] == nil {
			parcels[when] = &parcel{at: when}
		}
		return parcels[when]
	}
	for _, w := range c.written() {
		if w.boundary && c.chance(lost) {
			continue
		}
		when := way.event(c.random, w.at)
		at(when).events = append(at(when).events, w.fields)
		if c.chance(twice) {
			again := when + float64(c.random.IntN(3))
			at(again).events = append(at(again).events, maps.Clone(w.fields))
		}
	}
	for _, r := range readings {
		when := way.reading(c.random, r.at)
		at(when).readings = append(at(when).readings, r)
	}
	sorted := slices.SortedFunc(maps.Values(parcels), func(a, b *parcel) int { return cmp.Compare(a.at, b.at) })
	for _, p := range sorted {
		c.random.Shuffle(len(p.events), func(i, j int) { p.events[i], p.events[j] = p.events[j], p.events[i] })
	}
	return sorted
}

// written lists the records of all processes.
func (c *cluster) written() []written {
	var all []written
	for _, p := range c.processes {
		all = append(all, p.written...)
	}
	return all
}

func (p *parcel) sendTo(t *testing.T, ranks, jobs *pipelines) {
	t.Helper()
	events := records(t, p.events...)
	require.NoError(t, jobs.logs.ConsumeLogs(t.Context(), copyOf(events).(plog.Logs)))
	require.NoError(t, ranks.logs.ConsumeLogs(t.Context(), events))
	byRank, byJob := pmetric.NewMetrics(), pmetric.NewMetrics()
	for _, r := range p.readings {
		if r.byJob {
			r.appendTo(t, byJob)
		} else {
			r.appendTo(t, byRank)
		}
	}
	require.NoError(t, ranks.metrics.ConsumeMetrics(t.Context(), byRank))
	require.NoError(t, jobs.metrics.ConsumeMetrics(t.Context(), byJob))
}

func (r *reading) appendTo(t *testing.T, md pmetric.Metrics) {
	t.Helper()
	resource := md.ResourceMetrics().AppendEmpty()
	require.NoError(t, resource.Resource().Attributes().FromRaw(r.resource))
	metric := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("DCGM_FI_DEV_GPU_UTIL")
	dp := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(pcommon.Timestamp(clusterStart + int64(r.stamp*1e9)))
	require.NoError(t, dp.Attributes().FromRaw(r.attributes))
	dp.Attributes().PutInt("reading", r.id)
}
