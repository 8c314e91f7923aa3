// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package truth_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/truth"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// handMade is the truth about a rank with a worker. Its job is killed at 500 and starts
// again at 600; the boundary at 200 is lost.
const handMade = `
{"session":"s","rank":3,"host":"n1","pid":7,"gpu":2,"uuid":"GPU-A","intervals":[
	{"from":100,"to":200,"path":"a"},{"from":200,"to":300,"path":"a / b","after":"lost boundary"},{"from":300,"to":400,"path":"c"},
	{"from":400,"to":500,"path":"d"},{"from":500,"to":600,"path":"","after":"kill"}]}
{"session":"s","rank":3,"host":"n1","pid":9,"gpu":2,"uuid":"GPU-A","intervals":[{"from":700,"to":800,"path":"a"}]}
{"session":"s","rank":3,"host":"n1","pid":8,"gpu":2,"uuid":"GPU-A","worker":1,"intervals":[{"from":100,"to":800,"path":"w"}]}
{"session":"s","rank":4,"host":"n2","pid":7,"gpu":0,"uuid":"GPU-B","clock_offset_ns":10,"intervals":[
	{"from":100,"to":200,"path":"a"},{"from":200,"to":300,"path":"b"}]}
`

// point returns a data point with attributes, given as key=value.
func point(at int64, attributes ...string) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("m")
	p := m.SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.Timestamp(at))
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		p.Attributes().PutStr(key, value)
	}
	return md
}

func check(t *testing.T, index *truth.Index, batches ...pmetric.Metrics) truth.Report {
	t.Helper()
	var lines bytes.Buffer
	for _, md := range batches {
		line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
		require.NoError(t, err)
		lines.Write(append(line, '\n'))
	}
	report := truth.Report{}
	require.NoError(t, index.Check(&lines, report.Add))
	return report
}

func TestVerdicts(t *testing.T) {
	index, err := truth.Read(strings.NewReader(handMade))
	require.NoError(t, err)
	unique := func(path string) []string { return []string{"phase_resolution=unique", "phase_path=" + path} }
	gpu := func(annotation ...string) []string { return append(annotation, "UUID=GPU-A") }
	for name, c := range map[string]struct {
		at         int64
		attributes []string
		want       truth.Count
	}{
		"the phase":                               {150, gpu(unique("a")...), truth.Count{Verdict: truth.Right}},
		"none before the first phase":             {50, gpu(), truth.Count{Verdict: truth.Right}},
		"none between two processes":              {650, gpu(), truth.Count{Verdict: truth.Right}},
		"none after the last phase":               {850, gpu(), truth.Count{Verdict: truth.Right}},
		"at a boundary, the one before":           {300, gpu(unique("a / b")...), truth.Count{Verdict: truth.Right}},
		"at a boundary, the one after":            {300, gpu(unique("c")...), truth.Count{Verdict: truth.Right}},
		"another phase":                           {450, gpu(unique("a")...), truth.Count{truth.Wrong, truth.Unexplained}},
		"a phase outside of all":                  {650, gpu(unique("a")...), truth.Count{truth.Wrong, truth.Unexplained}},
		"no phase":                                {450, gpu(), truth.Count{truth.None, truth.Unexplained}},
		"a path without a resolution":             {450, gpu("phase_path=d"), truth.Count{truth.None, truth.Unexplained}},
		"ambiguous":                               {450, gpu("phase_resolution=ambiguous"), truth.Count{truth.Ambiguous, truth.Unexplained}},
		"after a lost boundary":                   {250, gpu(unique("a")...), truth.Count{truth.Wrong, truth.AfterLost}},
		"before a lost boundary":                  {150, gpu(unique("a / b")...), truth.Count{truth.Wrong, truth.AfterLost}},
		"none after a lost boundary":              {250, gpu(), truth.Count{truth.None, truth.AfterLost}},
		"after a kill":                            {550, gpu(unique("d")...), truth.Count{truth.Wrong, truth.AfterKill}},
		"before a kill":                           {450, gpu(unique("c")...), truth.Count{truth.Wrong, truth.Unexplained}},
		"after the restart":                       {750, gpu(unique("a")...), truth.Count{Verdict: truth.Right}},
		"by host and GPU":                         {150, append(unique("a"), "Hostname=n1", "gpu=2"), truth.Count{Verdict: truth.Right}},
		"by host and hw.id":                       {150, append(unique("a"), "host.name=n1", "hw.id=2"), truth.Count{Verdict: truth.Right}},
		"by session and rank":                     {150, append(unique("a"), "session_id=s", "rank=3"), truth.Count{Verdict: truth.Right}},
		"by process":                              {150, append(unique("a"), "host.name=n1", "process.pid=7"), truth.Count{Verdict: truth.Right}},
		"a worker has its own phases":             {150, append(unique("w"), "host.name=n1", "process.pid=8"), truth.Count{Verdict: truth.Right}},
		"a worker's phase is not that of the GPU": {150, gpu(unique("w")...), truth.Count{truth.Wrong, truth.AfterLost}},
		"same process ID on another host":         {250, append(unique("b"), "host.name=n2", "process.pid=7"), truth.Count{Verdict: truth.Right}},
		"a clock that is ahead":                   {205, append(unique("a"), "UUID=GPU-B"), truth.Count{truth.Wrong, truth.Skew}},
		"further than the clock is ahead":         {215, append(unique("a"), "UUID=GPU-B"), truth.Count{truth.Wrong, truth.Unexplained}},
		"another GPU":                             {150, append(unique("a"), "UUID=GPU-C"), truth.Count{Verdict: truth.Unknown}},
		"a rank of another session":               {150, append(unique("a"), "session_id=t", "rank=3", "UUID=GPU-A"), truth.Count{Verdict: truth.Unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, truth.Report{c.want: 1}, check(t, index, point(c.at, c.attributes...)))
		})
	}
}

// Cumulative counters have no phase of a moment, and lines of other signals no points.
func TestCheckSkipsTheRest(t *testing.T) {
	index, err := truth.Read(strings.NewReader(handMade))
	require.NoError(t, err)
	counter := point(150, "UUID=GPU-A")
	m := counter.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	sum.DataPoints().AppendEmpty()
	assert.Empty(t, check(t, index, counter))
	sum.SetIsMonotonic(false)
	sum.DataPoints().At(0).SetTimestamp(150)
	sum.DataPoints().At(0).Attributes().PutStr("UUID", "GPU-A")
	assert.Equal(t, truth.Report{{truth.None, truth.Cumulative}: 1}, check(t, index, counter))

	report := truth.Report{}
	require.NoError(t, index.Check(strings.NewReader(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1"}]}]}]}`+"\n\n"), report.Add))
	assert.Empty(t, report)
	require.ErrorContains(t, index.Check(strings.NewReader("\n{"), report.Add), "line 2: ")
}

func TestReadReportsDamage(t *testing.T) {
	_, err := truth.Read(strings.NewReader(""))
	require.EqualError(t, err, "no truth")
	_, err = truth.Read(strings.NewReader(`{"rank":1}` + "\n{"))
	require.ErrorContains(t, err, "truth, after 1 lines: ")
}

func TestReport(t *testing.T) {
	r := truth.Report{
		{Verdict: truth.Right}: 6, {truth.Wrong, truth.AfterKill}: 1, {truth.Wrong, truth.AfterLost}: 2, {truth.None, truth.Unexplained}: 1,
	}
	assert.InDelta(t, 0.3, r.Share(truth.Wrong), 1e-9)
	var out strings.Builder
	require.NoError(t, r.Write(&out))
	assert.Equal(t, `verdict  points  share    reason
right    6       60.000%  
none     1       10.000%  unexplained
wrong    2       20.000%  lost boundary
wrong    1       10.000%  kill
total    10               
`, out.String())
}

// A perfect observer of the events is right about every reading, in all lines of the truth.
func TestTruthIsThatOfTheEvents(t *testing.T) {
	j := job.New(job.Config{
		Ranks: 3, GPUsPerNode: 2, Step: 30 * time.Millisecond, Start: time.Unix(1_795_000_000, 0), Duration: 5 * time.Second,
		Sample: time.Second, Reading: 7 * time.Millisecond, Forks: 1, Restarts: 2, Plan: format.Training(),
	})
	var file bytes.Buffer
	w := truth.NewWriter(&file, j)
	open := map[int]*job.Scope{}
	var seen []pmetric.Metrics
	last := int64(0)
	for e := range j.Events() {
		w.Add(e, "")
		last = e.At
		switch {
		case e.Kind == job.DeviceReading:
			annotation := []string{"UUID=" + e.Rank.UUID}
			if scope := open[e.Rank.Number]; scope != nil {
				annotation = append(annotation, "phase_resolution=unique", "phase_path="+strings.Join(scope.Path, truth.Separator))
			}
			seen = append(seen, point(e.At, annotation...))
		case e.Process == nil || e.Process.Worker > 0:
		case e.Kind == job.Enter:
			open[e.Rank.Number] = e.Scope
		case e.Kind == job.Exit:
			open[e.Rank.Number] = e.Scope.Parent
		case e.Kind == job.Kill:
			open[e.Rank.Number] = nil
		}
	}
	require.NoError(t, w.Close(last))
	assert.Greater(t, strings.Count(file.String(), "\n"), 10)
	index, err := truth.Read(&file)
	require.NoError(t, err)
	assert.Equal(t, truth.Report{{Verdict: truth.Right}: len(seen)}, check(t, index, seen...))
}
