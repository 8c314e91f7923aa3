// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPrometheusShowsThePhases runs the example, along with other routes of its metrics
// to Prometheus, and checks the data in Prometheus.
func TestPrometheusShowsThePhases(t *testing.T) {
	ranks := []*rank{loadRank(t, "rank0", 0, 40), loadRank(t, "rank1", 1, 40)}
	r := start(t, setup{
		shifts:    [][]*rank{ranks},
		onTop:     []string{"testdata/variants.yaml"},
		jobs:      []string{"untimed", "timed", "unguarded", "truncated", "few", "annotated", "lasting", "info"},
		exporters: []string{"lasting", "written", "info", "untranslated"},
		flags:     []string{"--feature-gates", "exporter.prometheusremotewritexporter.enableSendingRW2"},
	})
	run := finished{r, ranks, r.scrapes(t)}

	t.Run("each point has the phase of its rank", run.checkPoints)
	t.Run("nothing has a phase before or after the run", run.checkEnds)
	t.Run("utilization by phase", run.checkMeans)
	t.Run("energy by phase", run.checkEnergy)
	t.Run("options bound the series", run.checkSeries)
	t.Run("pushed gauges are better than scraped ones", run.checkScraped)
	t.Run("series that end show the phase of now", run.checkInstants)
	t.Run("a gauge to join with shows the phase of now", run.checkJoin)
	t.Run("a counter with changing labels is wrong", run.checkAnnotated)
}

// TestDeviceIsShared runs two ranks on what looks like one device, as on two hosts with the
// same name: while both are alive, the phase is ambiguous, also between the phases of one.
func TestDeviceIsShared(t *testing.T) {
	ranks := []*rank{loadRank(t, "rank0", 0, 10), loadRank(t, "rank1", 0, 10)}
	r := start(t, setup{shifts: [][]*rank{ranks}})
	counts := r.checkShared(t, ranks)
	assert.Positive(t, counts[labels{resolution: "ambiguous"}])
}

// TestDeviceIsReused starts a rank on a device right after another one has ended. Both run
// in pods, and the collector is configured with the name of the node.
func TestDeviceIsReused(t *testing.T) {
	first, second := loadRank(t, "rank0", 0, 10), loadRank(t, "rank1", 0, 10)
	first.host, second.host = "trainer-0", "trainer-1"
	r := start(t, setup{shifts: [][]*rank{{first}, {second}}, env: []string{"NODE_NAME=" + host}})
	counts := r.checkShared(t, []*rank{first, second})
	assert.Zero(t, counts[labels{resolution: "ambiguous"}])
	t.Logf("the second rank began %s after the first ended", second.began().Sub(first.ended()))
}

// checkShared compares the points of GPU 0 with the reference for the ranks that run on
// it, and those of GPU 1, which is unused. It returns the number of points of GPU 0 by
// their labels.
func (r *Rig) checkShared(t *testing.T, ranks []*rank) map[labels]int {
	t.Helper()
	counts := map[labels]int{}
	used, unused := map[int64]map[labels]float64{}, map[int64]map[labels]float64{}
	for _, s := range r.scrapes(t) {
		var want labels
		alive := 0
		for _, rank := range ranks {
			if rank.alive(s.at) {
				alive++
			}
			want = cmp.Or(want, rank.labels(s.at))
		}
		if alive > 1 && want != (labels{}) {
			want = labels{resolution: "ambiguous"}
		}
		counts[want]++
		used[s.at.UnixMilli()] = map[labels]float64{want: gpuUtil.value(s.number, 0)}
		unused[s.at.UnixMilli()] = map[labels]float64{{}: gpuUtil.value(s.number, 1)}
	}
	assert.Equal(t, used, r.points(t, gpuUtil, "dcgm", 0))
	assert.Equal(t, unused, r.points(t, gpuUtil, "dcgm", 1))
	t.Logf("points by labels: %v", counts)
	return counts
}

// finished is a completed run.
type finished struct {
	*Rig
	ranks   []*rank
	scrapes []scrape
}

// scrape is a page of the exporter and the time when it was scraped.
type scrape struct {
	number int
	at     time.Time
}

// scrapes returns the scrapes in Prometheus, using a gauge without phases whose value
// contains the number of the scrape. It checks that none is missing.
func (r *Rig) scrapes(t *testing.T) []scrape {
	t.Helper()
	series := r.Query(t, smClock.name+`{job="dcgm",gpu="0"}[1h]`, r.End)
	require.Len(t, series, 1)
	var scrapes []scrape
	for i, p := range series[0].Points {
		number := int(p.Value - smClock.value(0, 0))
		require.Equal(t, i+1, number, "the number of the scrape at %d", p.Time)
		scrapes = append(scrapes, scrape{number, time.UnixMilli(p.Time)})
	}
	return scrapes
}

// labels has the phase labels of a point.
type labels struct{ resolution, path, rank string }

func (r *rank) labels(at time.Time) labels {
	if path := r.at(at); path != "" {
		return labels{"unique", path, r.number}
	}
	return labels{}
}

// points returns the points of a metric of a GPU from a Prometheus job, by time.
func (r *Rig) points(t *testing.T, m metric, job string, gpu int) map[int64]map[labels]float64 {
	t.Helper()
	points := map[int64]map[labels]float64{}
	for _, s := range r.Query(t, fmt.Sprintf(`%s{job=%q,gpu="%d"}[1h]`, m.name, job, gpu), r.End) {
		require.Equal(t, uuid(gpu), s.Labels["UUID"])
		for _, p := range s.Points {
			if points[p.Time] == nil {
				points[p.Time] = map[labels]float64{}
			}
			points[p.Time][labels{s.Labels["phase_resolution"], s.Labels["phase_path"], s.Labels["phase_rank"]}] = p.Value
		}
	}
	return points
}

// byPath returns the values of a query for a GPU, by path.
func (r *Rig) byPath(t *testing.T, query string, gpu int) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, s := range r.Query(t, query, r.End) {
		if s.Labels["gpu"] == strconv.Itoa(gpu) {
			require.NotContains(t, values, s.Labels["phase_path"])
			values[s.Labels["phase_path"]] = s.Points[0].Value
		}
	}
	return values
}

func (r finished) checkPoints(t *testing.T) {
	checked := 0
	for _, rank := range r.ranks {
		byPath := map[string]int{}
		for _, m := range []metric{gpuUtil, fbUsed, powerUsage, tensorActive} {
			want := map[int64]map[labels]float64{}
			for _, s := range r.scrapes {
				want[s.at.UnixMilli()] = map[labels]float64{rank.labels(s.at): m.value(s.number, rank.gpu)}
				byPath[rank.at(s.at)]++
			}
			assert.Equal(t, want, r.points(t, m, "dcgm", rank.gpu), "%s of %s", m.name, rank.name)
			checked += len(want)
		}
		assert.Greater(t, len(byPath), 5, "the phases of %s", rank.name)
		t.Logf("%s: %d scrapes, points of 4 metrics by phase: %v", rank.name, len(r.scrapes), byPath)
	}
	t.Logf("%d points match the reference", checked)
}

func (r finished) checkEnds(t *testing.T) {
	for _, rank := range r.ranks {
		began, ended := rank.began(), rank.ended()
		early, late := 0, 0
		for _, s := range r.scrapes {
			if s.at.Before(began) {
				early++
			}
			if s.at.After(ended) {
				late++
			}
		}
		assert.GreaterOrEqual(t, early, around)
		assert.GreaterOrEqual(t, late, around)

		selector := fmt.Sprintf(`{__name__=~"DCGM_.*",job="dcgm",gpu="%d",phase_resolution!=""}`, rank.gpu)
		before := began.Add(-time.Millisecond) // Prometheus stores milliseconds
		assert.Empty(t, r.Query(t, selector+window(before.Sub(r.Start)), before), "before %s", rank.name)
		assert.NotEmpty(t, r.Query(t, selector+window(ended.Sub(began)), ended), "during %s", rank.name)
		// The counter of a phase is still exported after the phase, but no longer grows.
		last := r.scrapes[len(r.scrapes)-1].at
		grows := "changes(" + selector + window(last.Sub(ended)-settling) + ") > 0"
		assert.Empty(t, r.Query(t, grows, last), "after %s", rank.name)
		t.Logf("%s: %d scrapes before the run and %d after it", rank.name, early, late)
	}
}

// window returns the range of a range vector.
func window(of time.Duration) string { return fmt.Sprintf("[%dms]", of.Milliseconds()) }

func (r finished) checkMeans(t *testing.T) {
	query := `avg_over_time(` + gpuUtil.name + `{job="dcgm"}[1h])`
	var shown table
	for _, rank := range r.ranks {
		sum, count := map[string]float64{}, map[string]float64{}
		for _, s := range r.scrapes {
			sum[rank.at(s.at)] += gpuUtil.value(s.number, rank.gpu)
			count[rank.at(s.at)]++
		}
		came := r.byPath(t, query, rank.gpu)
		assert.Len(t, came, len(sum))
		for path, total := range sum {
			assert.InDelta(t, total/count[path], came[path], 1e-9, "%s in %q", rank.name, path)
			shown.row(rank.gpu, path, fmt.Sprintf("%.1f %%", came[path]), count[path])
		}
	}
	shown.log(t, query, "gpu", "phase_path", "mean", "points")
}

// spent returns the energy of a GPU between the first scrape and another one, in joules.
func spent(scrape, gpu int) float64 {
	return (energy.value(scrape, gpu) - energy.value(1, gpu)) / 1000
}

// shares returns the energy of a rank's GPU by phase, divided by time.
func (r finished) shares(rank *rank) map[string]float64 {
	shares := map[string]float64{}
	for i, s := range r.scrapes[1:] {
		before := r.scrapes[i]
		grown := spent(s.number, rank.gpu) - spent(before.number, rank.gpu)
		for path, time := range rank.during(before.at, s.at) {
			shares[path] += grown * time.Seconds() / s.at.Sub(before.at).Seconds()
		}
	}
	return shares
}

func (r finished) checkEnergy(t *testing.T) {
	const query = `sum by (gpu, phase_path) (last_over_time(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="dcgm"}[1h])) / 1000`
	const exact = 1e-6
	var shown table
	for _, rank := range r.ranks {
		want, came, total := r.shares(rank), r.byPath(t, query, rank.gpu), 0.0
		assert.Len(t, came, len(want))
		for _, s := range r.Query(t, fmt.Sprintf(`last_over_time(%s_total{job="dcgm",gpu="%d"}[1h])`, energy.name, rank.gpu), r.End) {
			of := map[string]string{"unique": rank.number}[s.Labels["phase_resolution"]]
			assert.Equal(t, of, s.Labels["phase_rank"], "%s in %q", rank.name, s.Labels["phase_path"])
		}
		for path, joules := range came {
			total += joules
			shown.row(rank.gpu, path, fmt.Sprintf("%.1f J", joules))
			if path != "" { // time in no phase continues
				assert.InDelta(t, want[path], joules, exact, "%s in %q", rank.name, path)
			}
		}
		shown.row(rank.gpu, "all", fmt.Sprintf("%.1f J", total))
		upTo := slices.IndexFunc(r.scrapes, func(s scrape) bool { return spent(s.number, rank.gpu) > total-exact })
		if assert.Positive(t, upTo, "%s: %f J exceed the counter", rank.name, total) {
			assert.InDelta(t, spent(r.scrapes[upTo].number, rank.gpu), total, exact, "%s: the counter", rank.name)
		}
	}
	shown.log(t, query, "gpu", "phase_path", "energy")
}

// checkSeries compares the number of series, with and without the options that bound them,
// with the reference.
func (r finished) checkSeries(t *testing.T) {
	gauges := len(metrics()) - 1 // all but the energy
	whole := func(path string) string { return path }
	twoElements := func(path string) string {
		elements := strings.Split(path, " / ")
		return strings.Join(elements[:min(2, len(elements))], " / ")
	}
	// A gauge has one series per phase in which it was scraped, energy one per phase.
	series := func(gauges int, truncate func(string) string) (n int) {
		for _, rank := range r.ranks {
			scraped, spanned := map[string]bool{}, map[string]bool{}
			for _, s := range r.scrapes {
				scraped[truncate(rank.at(s.at))] = true
			}
			for path := range r.shares(rank) {
				spanned[truncate(path)] = true
			}
			n += gauges*len(scraped) + len(spanned)
		}
		return n
	}
	count := func(selector string) int {
		series := r.Query(t, `count(last_over_time({__name__=~"DCGM_.*",`+selector+`}[1h]))`, r.End)
		require.Len(t, series, 1)
		return int(series[0].Points[0].Value)
	}

	none, all, chosen := count(`job="dcgm",phase_path=""`), count(`job="unguarded"`), count(`job="dcgm"`)
	truncated, few := count(`job="truncated"`), count(`job="few"`)
	assert.Equal(t, len(metrics())*len(r.ranks), none)
	assert.Equal(t, series(gauges, whole), all)
	assert.Equal(t, series(gauges-1, whole)+len(r.ranks), chosen, "one for the clock of each GPU")
	assert.Equal(t, series(gauges, twoElements), truncated)
	paths := r.Query(t, `count by (phase_path) (last_over_time({__name__=~"DCGM_.*",job="few"}[1h]))`, r.End)
	assert.GreaterOrEqual(t, len(paths), 5, "three paths, other and none")
	assert.LessOrEqual(t, len(paths), 6, "one path may have made room for one of the other session")
	assert.LessOrEqual(t, few, len(metrics())*len(r.ranks)*len(paths))

	var shown table
	shown.row("without phases", none)
	shown.row("phases on all metrics", all)
	shown.row("metrics::include", chosen)
	shown.row("metrics::truncate_paths: 2", truncated)
	shown.row("limits::max_paths: 3", few)
	shown.log(t, "series of 6 metrics of 2 GPUs", "option", "series")
}

// checkScraped compares the samples of a gauge with the reference at their times: pushed, and
// scraped with the timestamps of its points.
func (r finished) checkScraped(t *testing.T) {
	var shown table
	for job, check := range map[string]func(wrong, right, points int){
		"dcgm": func(wrong, right, points int) { assert.True(t, wrong == 0 && right == points, "pushed") },
		"timed": func(wrong, right, points int) {
			assert.True(t, wrong == 0 && 0 < right && right <= points, "with timestamps")
		},
	} {
		wrong, right := 0, 0
		for _, rank := range r.ranks {
			for at, values := range r.points(t, gpuUtil, job, rank.gpu) {
				for labels := range values {
					if labels == rank.labels(time.UnixMilli(at)) {
						right++
					} else {
						wrong++
					}
				}
			}
		}
		points := len(r.scrapes) * len(r.ranks)
		check(wrong, right, points)
		shown.row(job, points, right, wrong)
	}
	shown.log(t, gpuUtil.name, "route", "points", "correct samples", "wrong samples")
}

// checkAnnotated shows that a counter whose labels change with the phase counts too much.
func (r finished) checkAnnotated(t *testing.T) {
	const query = `increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="annotated"}[1h]) / 1000`
	var shown table
	for _, rank := range r.ranks {
		want, total, grown := r.shares(rank), 0.0, 0.0
		came := r.byPath(t, query, rank.gpu)
		for path, joules := range want {
			shown.row(rank.gpu, path, fmt.Sprintf("%.1f J", joules), fmt.Sprintf("%.1f J", came[path]))
			total += joules
			grown += came[path]
		}
		shown.row(rank.gpu, "all", fmt.Sprintf("%.1f J", total), fmt.Sprintf("%.1f J", grown))
		assert.Greater(t, grown, 2*total, "%s: the same energy is counted several times", rank.name)
	}
	shown.log(t, query, "gpu", "phase_path", "reference", "counter")
}

// table is a table in the log of a test.
type table struct{ rows [][]any }

func (t *table) row(cells ...any) { t.rows = append(t.rows, cells) }

func (t *table) log(tb testing.TB, title string, columns ...any) {
	tb.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	slices.SortFunc(t.rows, func(a, b []any) int { return strings.Compare(fmt.Sprint(a...), fmt.Sprint(b...)) })
	for _, row := range append([][]any{columns}, t.rows...) {
		for _, cell := range row {
			fmt.Fprintf(w, "%v\t", cell)
		}
		fmt.Fprintln(w)
	}
	require.NoError(tb, w.Flush())
	tb.Logf("%s\n%s", title, text.String())
}
