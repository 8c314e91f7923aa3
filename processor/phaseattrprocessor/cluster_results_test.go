// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// clusterResults counts verdicts by kind of reading.
type clusterResults struct {
	kinds map[string]*kindResults
}

type kindResults struct {
	counts            [verdicts]int
	clear, clearRight int
	wrong             []string // the first wrong phases
}

// maxWrongShown is how many wrong phases of a kind a failure shows.
const maxWrongShown = 3

func (r *clusterResults) add(origin string, c *cluster, asked *reading, got answer) {
	kind := r.kinds[asked.kind]
	if kind == nil {
		kind = &kindResults{}
		r.kinds[asked.kind] = kind
	}
	v := asked.truth.judge(got)
	kind.counts[v]++
	if asked.truth.clear {
		kind.clear++
		if v <= rightNone {
			kind.clearRight++
		}
	}
	if v == wrongUnique && len(kind.wrong) < maxWrongShown {
		kind.wrong = append(kind.wrong, fmt.Sprintf("%s: %s at %.4f on its clock: %v %v\n  got %q, want %q\n%s",
			origin, asked.kind, asked.stamp, asked.resource, asked.attributes, got.path, asked.truth.paths, c.about(asked)))
	}
}

// about lists the processes that a reading may belong to.
func (c *cluster) about(asked *reading) string {
	var text strings.Builder
	for _, p := range c.processes {
		outermost := ""
		if len(p.intervals) > 0 {
			outermost, _, _ = strings.Cut(p.intervals[0].path, " / ")
		}
		fmt.Fprintf(&text, "  %s: %s rank %d of %d in %s, pid %d (fork %t) at %s GPU %d (UUID %t, as %d), %.4f to %.4f on its clock (%+.4f), killed %t, pulse %g, then in %q\n",
			outermost, p.session, p.rank, p.ranks, p.job, p.pid, !p.isMain(), p.host.name, p.gpu, p.host.devices == byUUID || p.host.devices == renumbered,
			p.host.device(p.gpu), p.from+p.host.skew, p.to+p.host.skew, p.host.skew, p.killed, p.pulse, p.phase(p.local(asked.stamp)))
	}
	return text.String()
}

func (r *clusterResults) total(v verdict) int {
	n := 0
	for _, kind := range r.kinds {
		n += kind.counts[v]
	}
	return n
}

func (r *clusterResults) readings() int {
	n := 0
	for v := range verdicts {
		n += r.total(v)
	}
	return n
}

// shareRight is the share of a kind's clear readings that are right.
func (r *clusterResults) shareRight(kind string) float64 {
	if r.kinds[kind] == nil {
		return 0
	}
	return float64(r.kinds[kind].clearRight) / float64(r.kinds[kind].clear)
}

// wrong shows some of the wrong phases.
func (r *clusterResults) wrong() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		all = append(all, r.kinds[name].wrong...)
	}
	return strings.Join(all, "\n")
}

// String is a table of shares by kind.
func (r *clusterResults) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nreadings by\tcount\tunique\tambiguous\tnone\tneedlessly ambiguous\tneedlessly none\texcused\twrong\tclear\tright\t")
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		r.kinds[name].row(w, name)
	}
	all := &kindResults{}
	for _, kind := range r.kinds {
		for v, n := range kind.counts {
			all.counts[v] += n
		}
		all.clear += kind.clear
		all.clearRight += kind.clearRight
	}
	all.row(w, "all")
	_ = w.Flush() // a strings.Builder has no errors
	return text.String()
}

func (k *kindResults) row(w *tabwriter.Writer, name string) {
	total := 0
	for _, n := range k.counts {
		total += n
	}
	fmt.Fprintf(w, "%s\t%d\t", name, total)
	for v, n := range k.counts {
		decimals := 1
		if verdict(v) == wrongUnique {
			decimals = 3
		}
		fmt.Fprintf(w, "%.*f%%\t", decimals, 100*float64(n)/float64(total))
	}
	fmt.Fprintf(w, "%d\t%.1f%%\t\n", k.clear, 100*float64(k.clearRight)/float64(max(1, k.clear)))
}
