// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/resolve"
)

const (
	// watchEvery is how often a watch looks, and how long after the start it first does: a run
	// needs some time to begin.
	watchEvery = 2 * time.Minute
	// adviseEvery is how often, at most, the log repeats a warning of a watch.
	adviseEvery = 10 * time.Minute
)

// watch notices that nothing can get a phase: no boundary comes, or nothing matches those
// that do. It also notices telemetry of ranks whose boundaries another collector gets.
type watch struct {
	logger *zap.Logger
	// accepted is set once a boundary has been accepted, matched once telemetry other than
	// events has matched a rank after that. They stay set.
	accepted, matched atomic.Bool
	// items counts those that passed since the last look, unmatched those of them that have
	// no rank. They are not counted once something has matched.
	items, unmatched atomic.Int64
	// started has the signals of the pipelines.
	started [signals]atomic.Bool
	// noBoundary, noMatch and splitKey limit the warnings.
	noBoundary, noMatch, splitKey rate.Sometimes
}

func newWatch(logger *zap.Logger) *watch {
	return &watch{
		logger:     logger,
		noBoundary: rate.Sometimes{Interval: adviseEvery}, noMatch: rate.Sometimes{Interval: adviseEvery}, splitKey: rate.Sometimes{Interval: adviseEvery},
	}
}

// note notes what became of the items of a batch.
func (w *watch) note(stats *batchStats) {
	if w.matched.Load() {
		return
	}
	var items, unmatched int64
	matched := -stats.events
	for resolution := range stats.answers {
		for reason, n := range stats.answers[resolution] {
			items += n
			switch resolve.Reason(reason) {
			case resolve.NoSession, resolve.UnknownSession, resolve.OtherDevice:
				unmatched += n
			case resolve.NoTime, resolve.SkippedCumulative, resolve.Excluded, resolve.TooManyTenants:
			default:
				matched += n
			}
		}
	}
	w.items.Add(items)
	w.unmatched.Add(unmatched)
	if matched > 0 && w.accepted.Load() {
		w.matched.Store(true)
	}
}

// accept notes that boundaries are known.
func (w *watch) accept(boundaries int64) {
	if boundaries > 0 && !w.accepted.Load() {
		w.accepted.Store(true)
	}
}

// look warns if nothing has been able to get a phase, or if metrics name ranks of which no
// event has come. It is called regularly.
func (w *watch) look(config *Config, unknown []boundary.RankKey) {
	items, unmatched := w.items.Swap(0), w.unmatched.Swap(0)
	switch {
	case w.matched.Load() && len(unknown) > 0:
		w.splitKey.Do(func() {
			w.logger.Warn("Metrics name ranks of which no event has come, while events of others have; is the routing key split?",
				zap.Int("ranks", len(unknown)),
				zap.String("session", unknown[0].Session),
				zap.Int64("rank", unknown[0].Rank),
				zap.Strings("check", []string{
					"in front of several collectors, boundaries and telemetry are routed by the same key",
					"all senders write the value of the key in the same way",
				}),
				zap.String("counted_in", "otelcol_processor_phase_attr_unknown_identities"))
		})
	case w.matched.Load():
	case !w.accepted.Load() && items > 0:
		w.noBoundary.Do(func() {
			w.logger.Warn("No phase boundary has been accepted; nothing gets a phase",
				zap.Strings("pipelines", w.pipelines()),
				zap.String("session_attribute", config.SessionAttribute),
				zap.Strings("check", []string{
					"this component is in the logs pipeline that receives the boundary records, under the same ID",
					"they have the session_attribute",
					"their event_type, or event name, is phase_enter or phase_exit",
				}),
				zap.String("counted_in", "otelcol_processor_phase_attr_boundaries"))
		})
	case w.accepted.Load() && unmatched > 0:
		w.noMatch.Do(func() {
			w.logger.Warn("No telemetry has matched a rank; nothing gets a phase",
				zap.Strings("pipelines", w.pipelines()),
				zap.String("session_attribute", config.SessionAttribute),
				zap.String("rank_attribute", config.RankAttribute),
				zap.Strings("association", config.describeRules()),
				zap.String("counted_in", "otelcol_processor_phase_attr_associations"))
		})
	}
}

// pipelines returns the signals of the pipelines that have been started.
func (w *watch) pipelines() []string {
	var names []string
	for s := range signals {
		if w.started[s].Load() {
			names = append(names, s.String())
		}
	}
	return names
}

// describeRules returns the attributes that each association rule looks for.
func (cfg *Config) describeRules() []string {
	var texts []string
	for _, rule := range cfg.rules() {
		var keys []string
		for _, key := range rule.Keys {
			keys = append(keys, strings.Join(key.Names, " or "))
		}
		texts = append(texts, strings.Join(keys, "; and "))
	}
	return texts
}
