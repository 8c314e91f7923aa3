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
type clusterResults map[string]*kindResults

type kindResults struct {
	counts            [verdicts]int
	clear, clearRight int      // of the readings in one phase that the records suffice to tell
	wrong             []string // the first wrong phases
}

// maxWrongShown is how many wrong phases of a kind a failure shows.
const maxWrongShown = 3

// of returns the results of a kind, which may be new.
func (r clusterResults) of(kind string) *kindResults {
	if r[kind] == nil {
		r[kind] = &kindResults{}
	}
	return r[kind]
}

func (r clusterResults) add(origin string, c *cluster, asked *reading, got answer) {
	kind := r.of(asked.kind)
	v := asked.truth.judge(got)
	kind.counts[v]++
	if asked.truth.clear && len(asked.truth.paths) == 1 {
		kind.clear++
		if v == rightUnique {
			kind.clearRight++
		}
	}
	if v == wrongUnique && len(kind.wrong) < maxWrongShown {
		kind.wrong = append(kind.wrong, fmt.Sprintf("%s: %s at %.4f on its clock: %v %v\n  got %q, want %q\n%s",
			origin, asked.kind, asked.stamp, asked.resource, asked.attributes, got.path, asked.truth.paths, c.about(asked, got)))
	}
}

// about describes the processes that a reading may belong to, and those whose phase it got.
func (c *cluster) about(asked *reading, got answer) string {
	var text strings.Builder
	for _, p := range c.processes {
		if !slices.Contains(asked.truth.asked, p) && (len(p.intervals) == 0 || p.phase(p.local(asked.stamp)) != got.path) {
			continue
		}
		phase := "dead"
		if p.alive(asked.stamp) {
			phase = fmt.Sprintf("in %q", p.phase(p.local(asked.stamp)))
		}
		fmt.Fprintf(&text, "  %s rank %d/%d of %s, %s GPU %d (device %d) pid %d fork %t, lives %.4f to %.4f, killed %t, pulse %g, %s\n",
			p.session, p.rank, p.ranks, p.job, p.host.name, p.gpu, p.host.device(p.gpu), p.pid, !p.isMain(),
			p.from+p.host.skew, p.to+p.host.skew, p.killed, p.pulse, phase)
	}
	return text.String()
}

func (r clusterResults) merge(part clusterResults) {
	for name, kind := range part {
		r.of(name).merge(kind)
	}
}

func (k *kindResults) merge(part *kindResults) {
	for v, n := range part.counts {
		k.counts[v] += n
	}
	k.clear += part.clear
	k.clearRight += part.clearRight
	k.wrong = append(k.wrong, part.wrong...)
	k.wrong = k.wrong[:min(len(k.wrong), maxWrongShown)]
}

// all returns the results of all kinds together.
func (r clusterResults) all() *kindResults {
	var all kindResults
	for _, name := range slices.Sorted(maps.Keys(r)) {
		all.merge(r[name])
	}
	return &all
}

func (k *kindResults) readings() int {
	n := 0
	for _, count := range k.counts {
		n += count
	}
	return n
}

// shareRight is the share of the clear readings that got their phase.
func (k *kindResults) shareRight() float64 {
	return float64(k.clearRight) / float64(max(k.clear, 1))
}

// shareWrong is the share of the readings that got a phase that is not theirs.
func (k *kindResults) shareWrong() float64 {
	return float64(k.counts[wrongUnique]) / float64(max(k.readings(), 1))
}

// shownWrong shows some of the wrong phases of each kind.
func (r clusterResults) shownWrong() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		all = append(all, r[name].wrong...)
	}
	return strings.Join(all, "\n")
}

// String is a table of shares by kind.
func (r clusterResults) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nreadings by\tcount\tunique\tambiguous\tnone\tneedlessly ambiguous\tneedlessly none\texcused\twrong\tclear\tof which right\t")
	for _, name := range slices.Sorted(maps.Keys(r)) {
		r[name].row(w, name)
	}
	r.all().row(w, "all")
	_ = w.Flush() // a strings.Builder has no errors
	return text.String()
}

func (k *kindResults) row(w *tabwriter.Writer, name string) {
	fmt.Fprintf(w, "%s\t%d\t", name, k.readings())
	for v, n := range k.counts {
		decimals := 1
		if verdict(v) == wrongUnique {
			decimals = 3
		}
		fmt.Fprintf(w, "%.*f%%\t", decimals, 100*float64(n)/float64(k.readings()))
	}
	fmt.Fprintf(w, "%d\t%.1f%%\t\n", k.clear, 100*k.shareRight())
}
