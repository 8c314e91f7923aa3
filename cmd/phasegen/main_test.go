// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
	"github.com/phaseattr/phaseattr/test/loopback"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// goldenFlags are the flags of the runs in testdata.
const goldenFlags = "-ranks 1 -forks 1 -step 1s -duration 6s -scrape 3s -batch 10s -start 2026-11-01T00:00:00Z -speed 0 -seed 7"

// Each format is as in testdata. To update a directory, run phasegen as the message says.
func TestGolden(t *testing.T) {
	for name, flags := range map[string]string{
		"stormlog":   "-format stormlog -metrics dcgm",
		"megatron":   "-format megatron -metrics none",
		"torchtitan": "-format torchtitan -metrics none",
		"nemo_rl":    "-format nemo_rl -metrics none",
		"otel":       "-format otel -metrics none",
		"hw.gpu":     "-format nemo_rl -metrics hw.gpu",
		"process":    "-format nemo_rl -metrics process",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			command := "run " + goldenFlags + " " + flags + " -to lines:"
			require.NoError(t, dispatch(t.Context(), strings.Fields(command+dir), io.Discard, io.Discard))
			assert.Equal(t, read(t, filepath.Join("testdata", name)), read(t, dir), "go run . %stestdata/%s", command, name)
		})
	}
}

// read returns the files below a directory by path.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(content)
		return err
	}))
	return files
}

// The same seed gives the same telemetry, faults included, and the truth is that of the job
// whatever is lost.
func TestSeedDecidesTheFaults(t *testing.T) {
	run := func(seed, loss string) map[string]string {
		dir := t.TempDir()
		args := strings.Fields("run -ranks 4 -duration 5s -start 2026-11-01T00:00:00Z -speed 0 -late 0.1 -duplicate 0.1 -shuffle 0.2")
		args = append(args, "-seed", seed, "-loss", loss, "-to", "file:"+dir, "-truth", filepath.Join(dir, "truth.jsonl"))
		require.NoError(t, dispatch(t.Context(), args, io.Discard, io.Discard))
		return read(t, dir)
	}
	first := run("1", "0.1")
	assert.Equal(t, first, run("1", "0.1"))
	assert.NotEqual(t, first, run("2", "0.1"))
	complete := run("1", "0")
	assert.Greater(t, len(complete["logs.jsonl"]), len(first["logs.jsonl"]))
	assert.Contains(t, first["truth.jsonl"], `"after":"lost boundary"`)
	assert.NotContains(t, complete["truth.jsonl"], `"after":"lost boundary"`)
}

// With several destinations, each gets all telemetry of its nodes.
func TestNodesAreDividedAmongTheDestinations(t *testing.T) {
	one, first, second := t.TempDir(), t.TempDir(), t.TempDir()
	command := "run -nodes 3 -gpus-per-node 1 -duration 3s -start 2026-11-01T00:00:00Z -speed 0 -to file:"
	require.NoError(t, dispatch(t.Context(), strings.Fields(command+one), io.Discard, io.Discard))
	require.NoError(t, dispatch(t.Context(), strings.Fields(command+first+" -to file:"+second), io.Discard, io.Discard))
	for signal, all := range read(t, one) {
		lines := strings.Count(all, "\n")
		a, b := read(t, first)[signal], read(t, second)[signal]
		assert.Equal(t, lines, strings.Count(a, "\n")+strings.Count(b, "\n"))
		for node, in := range map[string]string{"gpu-node-0000": a, "gpu-node-0001": b, "gpu-node-0002": a} {
			assert.Equal(t, strings.Count(all, node), strings.Count(in, node), "%s of %s", signal, node)
		}
	}
}

func TestErrorsNameTheFlagAndTheValue(t *testing.T) {
	for args, want := range map[string]string{
		"run":                                  "ranks must be positive unless nodes is (got 0)",
		"run -nodes 1 -format x":               `format must be one of megatron, nemo_rl, otel, stormlog, torchtitan (got "x")`,
		"run -nodes 1 -metrics y":              `metrics must be one of dcgm, hw.gpu, none, process (got "y")`,
		"run -nodes 1 -loss 1.5":               "loss must be between 0 and 1 (got 1.5)",
		"run -nodes 1 -late NaN":               "late must be between 0 and 1 (got NaN)",
		"run -nodes 1 -late-by 0s":             "late-by must be positive (got 0s)",
		"run -nodes 1 -speed -1":               "speed must be 0 or more (got -1)",
		"run -nodes 1 -batch 0s":               "batch must be positive (got 0s)",
		"run -nodes 1 -to ftp://x":             `(got "ftp://x")`,
		"run -nodes 1 -to grpc://":             `(got "grpc://")`,
		"run -nodes 1 -to lines:":              `(got "lines:")`,
		"run -nodes 1 -dcgm-listen x -speed 2": "dcgm-listen needs metrics dcgm and speed 1 (got dcgm and 2)",
		"run -nodes 1 more":                    `unexpected argument "more"`,
		"check -got x":                         "truth must be set",
		"check -truth x":                       "got must be set",
		"check -truth x -got y -max-wrong 2":   "max-wrong must be between 0 and 1 (got 2)",
		"check -truth missing -got y":          "missing",
		"check -truth x -got y -every -1s":     "every must be 0 or more (got -1s)",
	} {
		err := dispatch(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		require.ErrorContains(t, err, want, args)
	}
}

func TestStatus(t *testing.T) {
	for args, want := range map[string]int{
		"":               statusUsage,
		"walk":           statusUsage,
		"help":           statusOK,
		"run -h":         statusOK,
		"run -nodes x":   statusUsage,
		"run -nodes 0":   statusFailed,
		"check -no-flag": statusUsage,
	} {
		err := dispatch(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		assert.Equal(t, want, status(err, io.Discard), args)
	}
}

// The exit status of check depends on the share of wrong phases.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	truth, got := filepath.Join(dir, "truth.jsonl"), filepath.Join(dir, "got.jsonl")
	require.NoError(t, os.WriteFile(truth, []byte(`{"session":"s","rank":0,"host":"n","pid":7,"gpu":0,"uuid":"GPU-1",`+
		`"intervals":[{"from":100,"to":200,"path":"a"},{"from":200,"to":300,"path":"b"}]}`), 0o600))
	point := `{"timeUnixNano":"%d","asInt":"1","attributes":[{"key":"UUID","value":{"stringValue":"gpu-1"}},` +
		`{"key":"phase_resolution","value":{"stringValue":"unique"}},{"key":"phase_path","value":{"stringValue":"%s"}}]}`
	line := `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[%s]}}]}]}]}` + "\n"
	content := fmt.Sprintf(line, fmt.Sprintf(point, 150, "a")) + fmt.Sprintf(line, fmt.Sprintf(point, 250, "a"))
	require.NoError(t, os.WriteFile(got, []byte(content), 0o600))

	var out bytes.Buffer
	args := []string{"check", "-truth", truth, "-got", got, "-max-wrong"}
	require.NoError(t, dispatch(t.Context(), append(args, "0.5"), &out, io.Discard))
	assert.Equal(t, `verdict  points  share    reason
right    1       50.000%  
wrong    1       50.000%  unexplained
total    2                
`, out.String())
	require.EqualError(t, dispatch(t.Context(), append(args, "0.4"), io.Discard, io.Discard),
		"0.5000 of the data points have a wrong phase, more than max-wrong (0.4)")

	out.Reset()
	require.NoError(t, dispatch(t.Context(), append(args, "1", "-every", "100ns"), &out, io.Discard))
	assert.Contains(t, out.String(), `   time  points     right  ambiguous    none     wrong  unknown
     0s       1  100.000%     0.000%  0.000%    0.000%   0.000%
  100ns       1    0.000%     0.000%  0.000%  100.000%   0.000%

verdict  points`)

	require.NoError(t, os.WriteFile(got, nil, 0o600))
	require.ErrorContains(t, dispatch(t.Context(), append(args, "1"), io.Discard, io.Discard), "no data points")
}

// A job is sent in real time. Interrupted, it ends without an error, and its truth is complete.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		truthFile := filepath.Join(dir, "truth.jsonl")
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second+time.Millisecond)
		defer cancel()
		began := time.Now()
		args := strings.Fields("run -ranks 1 -duration 1h -speed 2 -to file:" + dir + " -truth " + truthFile)
		var summary bytes.Buffer
		require.NoError(t, dispatch(ctx, args, io.Discard, &summary))
		assert.Equal(t, 90*time.Second+time.Millisecond, time.Since(began))
		assert.Contains(t, summary.String(), " 540 data points") // 3 metrics of 180 readings

		report := "check -max-wrong 1 -truth " + truthFile + " -got " + filepath.Join(dir, "metrics.jsonl")
		var out bytes.Buffer
		require.NoError(t, dispatch(t.Context(), strings.Fields(report), &out, io.Discard))
		assert.Regexp(t, `none +540 +100.000%`, out.String(), "nothing added a phase")
	})
}

func TestServePages(t *testing.T) {
	addresses, err := loopback.FreeAddresses(1)
	require.NoError(t, err)
	c := job.Config{Ranks: 1, GPUsPerNode: 1, Step: 1, Duration: 10, Sample: 1, Reading: 1, Plan: format.Training()}
	pages := format.NewPages(job.New(c))
	stop, err := serve(t.Context(), addresses[0], pages)
	require.NoError(t, err)
	defer stop()
	_, err = serve(t.Context(), addresses[0], pages)
	require.ErrorContains(t, err, "dcgm-listen: ")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addresses[0]+"/metrics", http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode)
}

func TestNoEventIsDatedAheadOfItsArrivalByDefault(t *testing.T) {
	now := time.Now()
	for speed, want := range map[float64]time.Time{0: now.Add(-time.Hour), 0.5: now.Add(-time.Hour), 1: now, 10: now.Add(-time.Hour)} {
		o := runOptions{job: job.Config{Duration: time.Hour}, speed: speed}
		assert.Equal(t, want, o.begin(now), "speed %v", speed)
	}
}
