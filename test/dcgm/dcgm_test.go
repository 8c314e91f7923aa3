// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
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

// TestPrometheusShowsThePhases runs the example once, and other ways to bring its
// metrics to Prometheus beside it, and asks Prometheus what came of it.
func TestPrometheusShowsThePhases(t *testing.T) {
	r := start(t, []string{"testdata/variants.yaml"}, []string{"untimed", "timed", "unguarded", "cut", "few", "annotated"})
	scrapes := r.scrapes(t)

	t.Run("each point has the phase of its rank", func(t *testing.T) { r.checkPoints(t, scrapes) })
	t.Run("nothing has a phase before or after the run", func(t *testing.T) { r.checkEnds(t, scrapes) })
	t.Run("utilization by phase", func(t *testing.T) { r.checkMeans(t, scrapes) })
	t.Run("energy by phase", func(t *testing.T) { r.checkEnergy(t, scrapes) })
	t.Run("the guards bound the series", func(t *testing.T) { r.checkSeries(t, scrapes) })
	t.Run("what a scrape of gauges shows", func(t *testing.T) { r.checkScraped(t, scrapes) })
	t.Run("what a counter with phases shows", func(t *testing.T) { r.checkAnnotated(t, scrapes) })
}

// scrape is a page of the exporter, and when the collector asked for it.
type scrape struct {
	number int
	at     time.Time
}

// scrapes are those that Prometheus has, by a gauge that has no phases and tells their
// numbers. None is missing.
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

// labels of the phase on a point.
type labels struct{ resolution, path string }

func (r *rank) labels(at time.Time) labels {
	if path := r.at(at); path != "" {
		return labels{"unique", path}
	}
	return labels{}
}

// points are those of a selector, by their time.
func (r *Rig) points(t *testing.T, selector string, rank *rank) map[int64]map[labels]float64 {
	t.Helper()
	points := map[int64]map[labels]float64{}
	for _, s := range r.Query(t, fmt.Sprintf(selector+"[1h]", rank.gpu), r.End) {
		require.Equal(t, uuid(rank.gpu), s.Labels["UUID"])
		for _, p := range s.Points {
			if points[p.Time] == nil {
				points[p.Time] = map[labels]float64{}
			}
			points[p.Time][labels{s.Labels["phase_resolution"], s.Labels["phase_path"]}] = p.Value
		}
	}
	return points
}

func (r *Rig) checkPoints(t *testing.T, scrapes []scrape) {
	checked := 0
	for _, rank := range r.ranks {
		byPath := map[string]int{}
		for _, m := range []metric{gpuUtil, fbUsed, powerUsage, tensorActive} {
			want := map[int64]map[labels]float64{}
			for _, s := range scrapes {
				want[s.at.UnixMilli()] = map[labels]float64{rank.labels(s.at): m.value(s.number, rank.gpu)}
				byPath[rank.at(s.at)]++
			}
			assert.Equal(t, want, r.points(t, m.name+`{job="dcgm",gpu="%d"}`, rank), "%s of %s", m.name, rank.name)
			checked += len(want)
		}
		assert.Greater(t, len(byPath), 5, "the phases of %s that were met", rank.name)
		t.Logf("%s: %d scrapes, points of 4 metrics by phase: %v", rank.name, len(scrapes), byPath)
	}
	t.Logf("%d points are as the reference says", checked)
}

func (r *Rig) checkEnds(t *testing.T, scrapes []scrape) {
	for _, rank := range r.ranks {
		began, ended := time.Unix(0, rank.replayed(rank.scopes[0].from)), time.Unix(0, rank.replayed(rank.events[len(rank.events)-1].at))
		early, late := 0, 0
		for _, s := range scrapes {
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
		window := func(of time.Duration) string { return fmt.Sprintf("[%dms]", of.Milliseconds()) }
		before := began.Add(-time.Millisecond) // times are stored in whole milliseconds
		assert.Empty(t, r.Query(t, selector+window(before.Sub(r.Start)), before), "%s has not begun", rank.name)
		assert.NotEmpty(t, r.Query(t, selector+window(ended.Sub(began)), ended), "%s runs", rank.name)
		// A counter of a phase goes on being shown, and stays as it is.
		grows := fmt.Sprintf("changes(%s%s) > 0", selector, window(r.End.Sub(ended)-2*Interval))
		assert.Empty(t, r.Query(t, grows, r.End), "%s has ended", rank.name)
		t.Logf("%s: %d scrapes before the run and %d after it", rank.name, early, late)
	}
}

func (r *Rig) checkMeans(t *testing.T, scrapes []scrape) {
	query := `avg_over_time(` + gpuUtil.name + `{job="dcgm"}[1h])`
	var table table
	for _, rank := range r.ranks {
		sum, count := map[string]float64{}, map[string]float64{}
		for _, s := range scrapes {
			sum[rank.at(s.at)] += gpuUtil.value(s.number, rank.gpu)
			count[rank.at(s.at)]++
		}
		came := r.byPath(t, query, rank)
		assert.Len(t, came, len(sum))
		for path, total := range sum {
			assert.InDelta(t, total/count[path], came[path], 1e-9, "%s in %q", rank.name, path)
			table.row(rank.gpu, path, fmt.Sprintf("%.1f %%", came[path]), count[path])
		}
	}
	table.log(t, query, "gpu", "phase_path", "mean", "points")
}

// byPath has the values of a query for the GPU of a rank, by their path.
func (r *Rig) byPath(t *testing.T, query string, rank *rank) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, s := range r.Query(t, query, r.End) {
		if s.Labels["gpu"] == strconv.Itoa(rank.gpu) {
			require.NotContains(t, values, s.Labels["phase_path"])
			values[s.Labels["phase_path"]] = s.Points[0].Value
		}
	}
	return values
}

func (r *Rig) checkEnergy(t *testing.T, scrapes []scrape) {
	const byPhase = `sum by (gpu, phase_path) (last_over_time(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="dcgm"}[1h])) / 1000`
	var table table
	for _, rank := range r.ranks {
		want := map[string]float64{}
		for i, s := range scrapes[1:] {
			before := scrapes[i]
			grown := (energy.value(s.number, rank.gpu) - energy.value(before.number, rank.gpu)) / 1000
			for path, time := range rank.during(before.at, s.at) {
				want[path] += grown * time.Seconds() / s.at.Sub(before.at).Seconds()
			}
		}
		came, total := r.byPath(t, byPhase, rank), 0.0
		for path, joules := range came {
			total += joules
			table.row(rank.gpu, path, fmt.Sprintf("%.1f J", joules))
			if path != "" { // time in no phase goes on
				assert.InDelta(t, want[path], joules, 1e-6, "%s in %q", rank.name, path)
			}
		}
		assert.Len(t, came, len(want))
		counted := func(scrape int) float64 {
			return (energy.value(scrape, rank.gpu) - energy.value(1, rank.gpu)) / 1000
		}
		upTo := slices.IndexFunc(scrapes, func(s scrape) bool { return counted(s.number) > total-1e-6 })
		if assert.Positive(t, upTo, "%s: %f J are more than the counter of the last scrape", rank.name, total) {
			assert.InDelta(t, counted(scrapes[upTo].number), total, 1e-6, "%s: the counter at scrape %d", rank.name, upTo+1)
		}
		table.row(rank.gpu, "all", fmt.Sprintf("%.1f J", total))
	}
	table.log(t, byPhase, "gpu", "phase_path", "energy")
}

// checkSeries counts the series that there are with and without the guards, and those
// that there should be by the reference.
func (r *Rig) checkSeries(t *testing.T, scrapes []scrape) {
	all, chosen := len(metrics())-1, len(metrics())-2 // gauges; all but the clock's
	count := func(selector string) int {
		series := r.Query(t, `count(last_over_time({__name__=~"DCGM_.*",`+selector+`}[1h]))`, r.End)
		require.Len(t, series, 1)
		return int(series[0].Points[0].Value)
	}
	paths := func(met func(rank *rank) map[string]bool) (n int) {
		for _, rank := range r.ranks {
			n += len(met(rank))
		}
		return n
	}
	sampled := func(cut func(string) string) int {
		return paths(func(rank *rank) map[string]bool {
			met := map[string]bool{}
			for _, s := range scrapes {
				met[cut(rank.at(s.at))] = true
			}
			return met
		})
	}
	throughout := func(cut func(string) string) int {
		return paths(func(rank *rank) map[string]bool {
			met := map[string]bool{}
			for path := range rank.during(scrapes[0].at, scrapes[len(scrapes)-1].at) {
				met[cut(path)] = true
			}
			return met
		})
	}
	whole := func(path string) string { return path }
	twoParts := func(path string) string {
		return strings.Join(strings.SplitN(path, " / ", 3)[:min(2, strings.Count(path, " / ")+1)], " / ")
	}

	none, without := count(`phase_resolution="",job="dcgm"`), count(`job="unguarded"`)
	with, cut, few := count(`job="dcgm"`), count(`job="cut"`), count(`job="few"`)
	assert.Equal(t, len(metrics())*len(r.ranks), none, "one for each metric and GPU")
	assert.Equal(t, all*sampled(whole)+throughout(whole), without)
	assert.Equal(t, (chosen-0)*sampled(whole)-0+throughout(whole)+len(r.ranks), with)
	assert.Equal(t, all*sampled(twoParts)+throughout(twoParts), cut)
	assert.Len(t, r.Query(t, `count by (phase_path) (last_over_time({__name__=~"DCGM_.*",job="few"}[1h]))`, r.End), 5,
		"three paths, other, and none")

	var table table
	table.row("no phases", none)
	table.row("phases on all metrics", without)
	table.row("phases on the metrics that `metrics` includes", with)
	table.row("`max_path_depth: 2`, all metrics", cut)
	table.row("`max_paths: 3`, all metrics", few)
	table.log(t, "series of 6 metrics of 2 GPUs", "guards", "series")
}

// checkScraped shows why gauges are pushed.
func (r *Rig) checkScraped(t *testing.T, scrapes []scrape) {
	var table table
	for _, job := range []string{"dcgm", "timed", "untimed"} {
		met, wrong, right := map[string]bool{}, 0, 0
		for _, rank := range r.ranks {
			for at, values := range r.points(t, gpuUtil.name+`{job="`+job+`",gpu="%d"}`, rank) {
				for labels := range values {
					if labels == rank.labels(time.UnixMilli(at)) {
						right++
						met[fmt.Sprint(rank.gpu, at)] = true
					} else {
						wrong++
					}
				}
			}
		}
		table.row(job, right+wrong, wrong, len(scrapes)*len(r.ranks))
		switch job {
		case "dcgm":
			assert.Zero(t, wrong)
			assert.Len(t, met, len(scrapes)*len(r.ranks))
		case "timed":
			assert.Zero(t, wrong)
			assert.NotEmpty(t, met)
		case "untimed":
			assert.Greater(t, wrong, right, "gone phases are shown as if they went on")
		}
	}
	table.log(t, gpuUtil.name, "way", "samples", "wrong phase", "scraped by the collector")

	// A query for a moment takes the last sample of each series, however old; one over
	// a short time does not.
	now := r.QueryRange(t, `count by (gpu) (`+gpuUtil.name+`{job="dcgm"})`, r.End, r.End, time.Second)
	require.Len(t, now, len(r.ranks))
	for _, s := range now {
		assert.Greater(t, s.Points[0].Value, 1.0, "series at a moment")
	}
	for _, s := range r.Query(t, `count by (gpu) (last_over_time(`+gpuUtil.name+`{job="dcgm"}[3s]))`, r.End) {
		assert.InDelta(t, 1, s.Points[0].Value, 0, "series in the last 3 s")
	}
}

// checkAnnotated shows what a counter is worth whose phase changes.
func (r *Rig) checkAnnotated(t *testing.T, scrapes []scrape) {
	const grown = `sum by (gpu) (increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="%s"}[1h])) / 1000`
	var table table
	for _, job := range []string{"annotated", "dcgm"} {
		for _, s := range r.Query(t, fmt.Sprintf(grown, job), r.End) {
			table.row(job, s.Labels["gpu"], s.Points[0].Value)
		}
	}
	last := scrapes[len(scrapes)-1].number
	for gpu := range 2 {
		table.row("counter", gpu, (energy.value(last, gpu)-energy.value(1, gpu))/1000)
	}
	for _, s := range r.Query(t, `last_over_time(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="annotated"}[1h])`, r.End) {
		table.row(s.Labels["phase_path"], s.Labels["gpu"], s.Points[0].Value)
	}
	for _, s := range r.Query(t, `increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total{job="annotated"}[1h])`, r.End) {
		table.row("increase "+s.Labels["phase_path"], s.Labels["gpu"], s.Points[0].Value)
	}
	table.log(t, grown, "way", "gpu", "energy")
}

// table is what a test shows.
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
