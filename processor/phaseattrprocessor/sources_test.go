// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// sampleEpoch is when the runs of the samples begin: 2026-11-20T08:00Z.
var sampleEpoch = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC).UnixNano()

// sampleLines returns the lines of a sample.
func sampleLines(t *testing.T, name string) [][]byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "sources", name))
	require.NoError(t, err)
	defer file.Close()
	if filepath.Ext(name) == ".json" {
		text, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		return [][]byte{text}
	}
	var lines [][]byte
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, []byte(scanner.Text()))
	}
	require.NoError(t, scanner.Err())
	return lines
}

// sampleSpans returns the batches of a sample of spans.
func sampleSpans(t *testing.T, name string) []ptrace.Traces {
	t.Helper()
	var batches []ptrace.Traces
	for _, line := range sampleLines(t, name) {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		require.NoError(t, err)
		batches = append(batches, td)
	}
	return batches
}

// withSources sets the sources, given as YAML.
func withSources(tb testing.TB, text string) func(*Config) {
	tb.Helper()
	return func(cfg *Config) {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte("sources: " + text))
		require.NoError(tb, err)
		conf, err := retrieved.AsConf()
		require.NoError(tb, err)
		require.NoError(tb, conf.Unmarshal(cfg))
	}
}

// inSample returns the time of a sample in seconds.
func inSample(at pcommon.Timestamp) string {
	return fmt.Sprintf("%09.4f", float64(int64(at)-sampleEpoch)/1e9)
}

// text returns the text of an attribute; empty if there is none.
func text(attributes pcommon.Map, key string) string {
	if v, ok := attributes.Get(key); ok {
		return v.AsString()
	}
	return ""
}

// got returns what attributes say of the phase.
func got(attributes pcommon.Map) string {
	switch text(attributes, "phase_resolution") {
	case "unique":
		return text(attributes, "phase_path")
	case "ambiguous":
		return "(ambiguous)"
	}
	return "-"
}

// describeSpans returns a line for each span, with its answer.
func describeSpans(td ptrace.Traces) (all []string) {
	for _, resource := range td.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				all = append(all, fmt.Sprintf("%s-%s %s of %s: %s", inSample(span.StartTimestamp()), inSample(span.EndTimestamp()), span.Name(),
					text(resource.Resource().Attributes(), "process.pid"), got(span.Attributes())))
			}
		}
	}
	return all
}

// describePoints returns a line for each data point, with its answer.
func describePoints(md pmetric.Metrics) (all []string) {
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				for _, point := range metric.Gauge().DataPoints().All() {
					all = append(all, fmt.Sprintf("%s gpu %s: %s", inSample(point.Timestamp()), text(point.Attributes(), "gpu"), got(point.Attributes())))
				}
			}
		}
	}
	return all
}

// describeLogs returns a line for each log record, with its answer.
func describeLogs(ld plog.Logs) (all []string) {
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				attributes := record.Attributes()
				all = append(all, fmt.Sprintf("%s %s of %s, rank %s: %s", inSample(record.Timestamp()), text(attributes, "log_type_name"),
					text(attributes, "source"), text(attributes, "global_rank"), got(attributes)))
			}
		}
	}
	return all
}

// samples are the samples, with the sources that read them.
func samples() []sample {
	byHand := func(scope, include, session, rank, rest string) string {
		return fmt.Sprintf(`[{spans: {scopes: [%q], include: [%q], session: [%s], rank: [%s]%s}}]`, scope, include, session, rank, rest)
	}
	return []sample{
		{"megatron_spans.jsonl", "[{preset: megatron}]"},
		{"megatron_nv_spans.jsonl", "[{preset: megatron}]"},
		{"nemo_rl_spans.jsonl", "[{preset: nemo_rl}]"},
		{"nvrx_phase_spans.jsonl", byHand("nvidia_resiliency_ext.*", "nv.nvrx.*", "nv.dl.run.uuid", "", ", anchor: {suffix: _start}")},
		{"logfire_pending_spans.jsonl", "[{preset: otel}]"},
		{"rl_insight_spans.json", byHand("rl_insight.*", "*", "experiment_name", "", ", group: [state_lane_id], path: {from: name}")},
		{"vllm_request_spans.json", "[{preset: megatron}, {preset: nemo_rl}, {preset: otel}]"},
		{"stormlog_infer_spans.json", "[{spans: {include: [stormlog.infer.phase], session: [service.instance.id], path: {from: name, strip: [stormlog.infer.]}}}]"},
	}
}

// sample is a file of testdata/sources, and the sources that read it.
type sample struct{ file, sources string }

// TestSpansOfSamplesAreAnswered compares the answers to all spans of the samples with those in
// the files beside them.
func TestSpansOfSamplesAreAnswered(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.file, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startAtSampleEpoch(t, s.sources)
				for _, td := range sampleSpans(t, s.file) {
					require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				var answers []string
				for _, td := range p.tracesSink.AllTraces() {
					answers = append(answers, describeSpans(td)...)
				}
				assertAnswers(t, s.file, answers)
			})
		})
	}
}

// startAtSampleEpoch starts pipelines shortly after the runs of the samples.
func startAtSampleEpoch(t *testing.T, sources string) *pipelines {
	t.Helper()
	time.Sleep(time.Until(time.Unix(0, sampleEpoch).Add(2 * time.Hour)))
	return startPipelines(t, withGrace, withSources(t, sources))
}

// assertAnswers compares answers, in any order, with those in the file beside a sample.
func assertAnswers(t *testing.T, file string, answers []string) {
	t.Helper()
	slices.Sort(answers)
	text := strings.Join(answers, "\n") + "\n"
	path := filepath.Join("testdata", "sources", file+".answers")
	if os.Getenv("WRITE_ANSWERS") != "" {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), text)
}

// TestPointsOfGPUsAreOfTheRanksThatHaveThem joins the points of dcgm-exporter with the spans of
// Megatron-LM by the UUIDs of the GPUs.
func TestPointsOfGPUsAreOfTheRanksThatHaveThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, "[{preset: megatron}]")
		for _, td := range sampleSpans(t, "megatron_spans.jsonl") {
			require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
		}
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(sampleLines(t, "dcgm_points.jsonl")[0])
		require.NoError(t, err)
		require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
		time.Sleep(time.Minute)
		var answers []string
		for _, md := range p.metricsSink.AllMetrics() {
			answers = append(answers, describePoints(md)...)
		}
		assertAnswers(t, "dcgm_points.jsonl", answers)
	})
}

// sampleRecords returns the records of TorchTitan's files, a batch for each ten lines, as
// file_log reads them.
func sampleRecords(t *testing.T, name string) []plog.Logs {
	t.Helper()
	var batches []plog.Logs
	for i, line := range sampleLines(t, name) {
		if i%10 == 0 {
			batches = append(batches, plog.NewLogs())
		}
		var fields object
		require.NoError(t, json.Unmarshal(line, &fields))
		record := batches[len(batches)-1].ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		require.NoError(t, record.Attributes().FromRaw(fields))
		record.Attributes().PutStr("log.file.path", fmt.Sprintf("/data/run-7/structured_logs/%v.global_rank_%v.jsonl", fields["source"], fields["global_rank"]))
		record.SetTimestamp(pcommon.Timestamp(int64(fields["time_us"].(float64)) * 1000))
	}
	return batches
}

// TestRecordsOfSamplesAreAnswered compares the answers to all records of TorchTitan's samples
// with those in the files beside them.
func TestRecordsOfSamplesAreAnswered(t *testing.T) {
	for _, file := range []string{"torchtitan.jsonl", "torchtitan_rl.jsonl"} {
		t.Run(file, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startAtSampleEpoch(t, "[{preset: torchtitan}]")
				for _, ld := range sampleRecords(t, file) {
					require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				var answers []string
				for _, ld := range p.logsSink.AllLogs() {
					answers = append(answers, describeLogs(ld)...)
				}
				assertAnswers(t, file, answers)
			})
		})
	}
}

// TestPartialSpansAreOpenPhases reads log records whose bodies are spans that have begun.
func TestPartialSpansAreOpenPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, "[{preset: otel}]")
		for _, line := range sampleLines(t, "partial_span_logs.jsonl") {
			ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
			require.NoError(t, err)
			require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
		}
		for _, tc := range []struct {
			seconds float64
			want    string
		}{{0.1, "train"}, {4, "train / evaluate"}, {7.9, "train / evaluate"}, {9, "train"}} {
			md := pmetric.NewMetrics()
			resource := md.ResourceMetrics().AppendEmpty()
			require.NoError(t, resource.Resource().Attributes().FromRaw(object{"session_id": "run-31", "rank": 0}))
			point := resource.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
			point.SetTimestamp(pcommon.Timestamp(sampleEpoch + int64(tc.seconds*1e9)))
			p.metricsSink.Reset()
			require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
			time.Sleep(time.Minute)
			require.Len(t, p.metricsSink.AllMetrics(), 1)
			out := p.metricsSink.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
			assert.Equal(t, tc.want, got(out.Attributes()), tc.seconds)
		}
	})
}

// TestRecordsAfterAPartialSpanAreOfTheirOwnScope reads a partial span and, after it in the same
// scope, records of another session, which their resource names.
func TestRecordsAfterAPartialSpanAreOfTheirOwnScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startAtSampleEpoch(t, "[{preset: stormlog}, {preset: torchtitan}, {preset: otel}]")
		partial, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(sampleLines(t, "partial_span_logs.jsonl")[0])
		require.NoError(t, err)
		for number, fields := range []object{
			{"log_type": "event", "log_type_name": "forward_start", "global_rank": 0, "seq_id": 1, "time_us": sampleEpoch/1000 + 100, "source": "", "task_name": "", "tid": 1},
			with((&program{}).worker(1).enter(0, "forward"), object{"timestamp_ns": sampleEpoch + 100_000, "session_id": nil}),
		} {
			session := fmt.Sprint("own-", number)
			ld := plog.NewLogs()
			resource := ld.ResourceLogs().AppendEmpty()
			require.NoError(t, resource.Resource().Attributes().FromRaw(object{"session_id": session}))
			records := resource.ScopeLogs().AppendEmpty().LogRecords()
			partial.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).CopyTo(records.AppendEmpty())
			require.NoError(t, records.AppendEmpty().Attributes().FromRaw(fields))
			require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
			assert.Equal(t, "forward", got(p.at(t, object{"session_id": session, "rank": 0}, 0.01)), session)
		}
		assert.Equal(t, "train", got(p.at(t, object{"session_id": "run-31", "rank": 0}, 0.01)))
	})
}

// TestAnswersOfSamplesAreThoseOfANaiveReading reads the spans of Megatron-LM without any of the
// processor's code: a span that is a phase has the path of its name, and a GPU the innermost
// phase of its process.
func TestAnswersOfSamplesAreThoseOfANaiveReading(t *testing.T) {
	type phase struct {
		uuid, path string
		start, end int64
		depth      int
	}
	for file, points := range map[string]string{"megatron_spans.jsonl": "dcgm_points.jsonl", "megatron_nv_spans.jsonl": ""} {
		answers := readAnswers(t, file)
		var phases []phase
		for _, line := range sampleLines(t, file) {
			for _, span := range naiveSpans(t, line) {
				path, ok := naivePath(span.name)
				if !ok {
					continue
				}
				key := fmt.Sprintf("%s-%s %s of %s", sinceEpoch(span.start), sinceEpoch(span.end), span.name, span.attributes["process.pid"])
				assert.Equal(t, path, answers[key], key)
				if role := span.attributes["nv.dl.role"]; role == "" || role == "trainer" {
					phases = append(phases, phase{span.attributes["dl.gpu.index"], path, span.start, span.end, strings.Count(span.name, ".")})
				}
			}
		}
		if points == "" {
			continue
		}
		for key, got := range readAnswers(t, points) {
			var at float64
			var gpu string
			_, err := fmt.Sscanf(key, "%f gpu %s", &at, &gpu)
			require.NoError(t, err)
			want, shortest := "-", int64(math.MaxInt64)
			for _, p := range phases {
				if now := sampleEpoch + int64(at*1e9); p.uuid == gpu && p.start <= now && now < p.end && p.end-p.start < shortest {
					want, shortest = p.path, p.end-p.start
				}
			}
			assert.Equal(t, want, got, key)
		}
	}
}

// readAnswers returns the answers beside a sample, by what they are to.
func readAnswers(t *testing.T, file string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "sources", file+".answers"))
	require.NoError(t, err)
	answers := map[string]string{}
	for line := range strings.Lines(string(content)) {
		key, answer, ok := strings.Cut(strings.TrimSpace(line), ": ")
		require.True(t, ok, line)
		answers[key] = answer
	}
	return answers
}

func sinceEpoch(at int64) string { return inSample(pcommon.Timestamp(at)) }

// naiveSpan is a span with the attributes of its resource.
type naiveSpan struct {
	name       string
	start, end int64
	attributes map[string]string
}

func naiveSpans(t *testing.T, line []byte) (spans []naiveSpan) {
	t.Helper()
	var request struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value map[string]any
				}
			}
			ScopeSpans []struct {
				Spans []struct{ Name, StartTimeUnixNano, EndTimeUnixNano string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(line, &request))
	for _, resource := range request.ResourceSpans {
		attributes := map[string]string{}
		for _, a := range resource.Resource.Attributes {
			for _, value := range a.Value {
				attributes[a.Key] = fmt.Sprint(value)
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				start, err := strconv.ParseInt(span.StartTimeUnixNano, 10, 64)
				require.NoError(t, err)
				end, err := strconv.ParseInt(span.EndTimeUnixNano, 10, 64)
				require.NoError(t, err)
				spans = append(spans, naiveSpan{span.Name, start, end, attributes})
			}
		}
	}
	return spans
}

// naivePath returns the path of a span of Megatron-LM, and whether it is a phase.
func naivePath(name string) (string, bool) {
	if name == "megatron.train" || name == "nv.dl.training.iter_block" || strings.HasPrefix(name, "nv.mcore.microbatch.") {
		return "", false
	}
	for _, head := range []string{"megatron.train.", "megatron.", "nv.dl.training.", "nv.mlm.", "nv.mcore.", "nv.nvrx."} {
		if rest, ok := strings.CutPrefix(name, head); ok {
			return strings.ReplaceAll(rest, ".", " / "), true
		}
	}
	return name, true
}
