// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lag is how much older than an instant the point may be that a scraped series shows: it
// may have waited for its boundaries, in a batch, and for the scrape.
const lag = 5 * time.Second

// startup is how long after the first scrape Prometheus shows it by any route: the points of
// a GPU that no rank has used wait for up to 5 s.
const startup = lag + 3*time.Second

// instants are the times of instant queries during a run, a second apart, and what is known
// of each GPU at each: its series, by labels.
type instants struct {
	of    *rank
	shown map[int64]map[labels]float64
}

// instant runs a query at steps of a second until the last scrape.
func (r finished) instant(t *testing.T, query string) []instants {
	t.Helper()
	from, to := r.scrapes[0].at.Add(startup), r.scrapes[len(r.scrapes)-1].at
	all := make([]instants, len(r.ranks))
	for i, rank := range r.ranks {
		all[i] = instants{rank, map[int64]map[labels]float64{}}
		for at := from; !at.After(to); at = at.Add(time.Second) {
			all[i].shown[at.UnixMilli()] = map[labels]float64{}
		}
	}
	for _, s := range r.QueryRange(t, query, from, to, time.Second) {
		i := slices.IndexFunc(r.ranks, func(rank *rank) bool { return uuid(rank.gpu) == s.Labels["UUID"] })
		for _, p := range s.Points {
			all[i].shown[p.Time][labels{s.Labels["phase_resolution"], s.Labels["phase_path"], s.Labels["phase_rank"]}] = p.Value
		}
	}
	return all
}

// scrapesOf returns the scrapes of a GPU from an exporter, of which the gauge that has their
// number is pushed in some job.
func (r finished) scrapesOf(t *testing.T, job string) []scrape {
	t.Helper()
	var scrapes []scrape
	for _, p := range r.Query(t, fmt.Sprintf(`%s{job=%q,gpu="0"}[1h]`, smClock.name, job), r.End)[0].Points {
		scrapes = append(scrapes, scrape{int(p.Value - smClock.value(0, 0)), time.UnixMilli(p.Time)})
	}
	return scrapes
}

// shows reports whether one series of a GPU is shown at an instant, with the phase that the
// reference has for the point that it shows: that of the last scrape or, if it has been
// scraped from the collector, of a scrape before.
func (i *instants) shows(at int64, scrapes []scrape, pushed bool, want func(*rank, time.Time) labels) bool {
	if len(i.shown[at]) != 1 {
		return false
	}
	for got, value := range i.shown[at] {
		for _, s := range slices.Backward(scrapes) {
			switch {
			case s.at.UnixMilli() > at:
			case fbUsed.value(s.number, i.of.gpu) == value && at-s.at.UnixMilli() < lag.Milliseconds():
				return got == want(i.of, s.at)
			case pushed: // the last one should be shown
				return false
			}
		}
	}
	return false
}

// checkInstants compares instant queries with the reference, for gauges that are pushed and
// scraped, with series that end with their phase and without.
func (r finished) checkInstants(t *testing.T) {
	var shown table
	for _, route := range []struct {
		name, scraped, query string
		pushed, ends         bool
	}{
		{"pushed", "dcgm", `{job="dcgm"}`, true, true},
		{"pushed by remote write", "written", `{job="written"}`, true, true},
		{"pushed", "lasting_pushed", `{job="lasting_pushed"}`, true, false},
		{"scraped", "dcgm", `{job="untimed"}`, false, true},
		{"scraped", "lasting_pushed", `{job="lasting"}`, false, false},
	} {
		right, wrong := 0, 0
		scrapes := r.scrapesOf(t, route.scraped)
		for _, gpu := range r.instant(t, fbUsed.name+route.query) {
			for at := range gpu.shown {
				if gpu.shows(at, scrapes, route.pushed, (*rank).labels) {
					right++
				} else {
					wrong++
				}
			}
		}
		if route.ends {
			assert.GreaterOrEqual(t, float64(right), 0.99*float64(right+wrong), route.name)
		} else {
			assert.Greater(t, wrong, right, route.name)
		}
		shown.row(route.name, route.ends, right, wrong)
	}
	shown.log(t, "instant queries at 1 s steps", "route", "end_series", "right", "wrong")
}

// checkJoin joins gauges without phases with phase.active, at the same instants. A GPU that
// is in no phase has no result.
func (r finished) checkJoin(t *testing.T) {
	var shown table
	for _, route := range []struct {
		name, scraped, job, active string
		pushed                     bool
	}{
		{"pushed", "info_pushed", "info_pushed", "phase_active", true},
		{"pushed by remote write", "untranslated", "untranslated", "phase.active", true},
		{"scraped", "info_pushed", "info", "phase_active", false},
	} {
		join := fmt.Sprintf(`%s{job=%q} * on (UUID) group_left (phase_path, phase_rank, phase_resolution) ({%[3]q, job=%[2]q} == 1)`,
			fbUsed.name, route.job, route.active)
		right, wrong, results := 0, 0, 0
		scrapes := r.scrapesOf(t, route.scraped)
		gauges := r.instant(t, fmt.Sprintf(`%s{job=%q}`, fbUsed.name, route.job))
		for i, gpu := range r.instant(t, join) {
			for at, joined := range gpu.shown {
				assert.Len(t, gauges[i].shown[at], 1)
				results += len(joined)
				if len(joined) == 0 { // in no phase
					gpu.shown[at] = map[labels]float64{{}: gauges[i].shown[at][labels{}]}
				}
				if gpu.shows(at, scrapes, route.pushed, (*rank).labels) {
					right++
				} else {
					wrong++
				}
			}
		}
		assert.GreaterOrEqual(t, float64(right), 0.99*float64(right+wrong), route.name)
		shown.row(route.name, route.active, results, right, wrong)
		if route.pushed {
			r.checkRules(t, route.job)
		}
	}
	shown.log(t, "join at 1 s steps", "route", "with", "results", "right", "wrong")
}

// checkRules runs the rules for dashboards on the gauges without phases of a job: each GPU has
// one series at each instant, with the phase that the join has, or none.
func (r finished) checkRules(t *testing.T, job string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "examples", "grafana", "info.rules.yml"))
	require.NoError(t, err)
	content = bytes.ReplaceAll(content, []byte(`{job!="phases"}`), fmt.Appendf(nil, `{job=%q}`, job))
	content = bytes.ReplaceAll(content, []byte(`"phase[._]active"`), fmt.Appendf(nil, `"phase[._]active", job=%q`, job))
	for _, group := range parse(t, content).Get("groups").([]any) {
		rules := group.(map[string]any)["rules"].([]any)
		require.NotEmpty(t, rules)
		for _, rule := range rules {
			inPhase, inNone := 0, 0
			for _, gpu := range r.instant(t, rule.(map[string]any)["expr"].(string)) {
				for _, shown := range gpu.shown {
					require.Len(t, shown, 1)
					if _, none := shown[labels{}]; none {
						inNone++
					} else {
						inPhase++
					}
				}
			}
			assert.Positive(t, inPhase)
			assert.Positive(t, inNone)
		}
	}
}
