// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package examples runs the examples of formats other than stormlog's: phasegen sends the
// telemetry of a job in real time and serves its GPUs as dcgm-exporter does, and the points that
// the collector exports are compared with the truth.
package examples

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/phaseattr/phaseattr/test/loopback"
)

const duration = 30 * time.Second

// example is an example, and the format in which phasegen sends its telemetry.
type example struct {
	name, format string
	// label is what the processor calls a path.
	label func(path string) string
}

func examples() []example {
	inName := func(path string) string {
		name := path[strings.LastIndex(path, " / ")+len(" / "):]
		if !strings.Contains(path, " / ") {
			name = path
		}
		if name == "megatron.train" {
			return ""
		}
		name = strings.TrimPrefix(strings.TrimPrefix(name, "megatron."), "train.")
		return strings.ReplaceAll(name, ".", " / ")
	}
	inStep := func(path string) string { _, rest, _ := strings.Cut(path, " / "); return rest }
	return []example{
		{"megatron", "megatron", inName},
		{"torchtitan", "torchtitan", func(path string) string { return path }},
		{"opentelemetry", "otel", inStep},
	}
}

func TestExamples(t *testing.T) {
	for _, e := range examples() {
		for _, delay := range []time.Duration{500 * time.Millisecond, 5 * time.Second} {
			t.Run(fmt.Sprint(e.name, " ", delay), func(t *testing.T) {
				shares := e.run(t, delay)
				t.Logf("%d points: right %.2f%%, wrong %.2f%%, none %.2f%%, ambiguous %.2f%%", shares.total(),
					100*shares.of("right"), 100*shares.of("wrong"), 100*shares.of("none"), 100*shares.of("ambiguous"))
				assert.GreaterOrEqual(t, shares.of("right"), 0.97)
				assert.LessOrEqual(t, shares.of("wrong"), 0.005)
			})
		}
	}
}

// run runs an example on a job whose processes write their phases with a delay.
func (e *example) run(t *testing.T, delay time.Duration) counts {
	t.Helper()
	for _, name := range []string{"OTELCOL_DCGM", "PHASEGEN"} {
		require.NotEmpty(t, os.Getenv(name), "make e2e-examples sets it")
	}
	prometheus := newCapture()
	t.Cleanup(prometheus.Close)
	addresses, err := loopback.FreeAddresses(5)
	require.NoError(t, err)
	directory := t.TempDir()
	_, telemetryPort, err := net.SplitHostPort(addresses[4])
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(directory, "log"))
	require.NoError(t, err)
	defer log.Close()
	collector := exec.CommandContext(t.Context(), os.Getenv("OTELCOL_DCGM"), "--config", filepath.Join("..", "..", "examples", e.name, "collector.yaml"))
	collector.Env = append(os.Environ(), "GRPC_ADDRESS="+addresses[0], "OTLP_ADDRESS="+addresses[1], "DCGM_ADDRESS="+addresses[2], "HEALTH_ADDRESS="+addresses[3],
		"TELEMETRY_PORT="+telemetryPort, "DUMP_FOLDER="+directory, "PROMETHEUS_URL="+prometheus.URL, "TRACES_URL="+prometheus.URL)
	collector.Stdout, collector.Stderr = log, log
	require.NoError(t, collector.Start())
	waitUntilReady(t, addresses[3])

	to, truth := "grpc://"+addresses[0], filepath.Join(directory, "truth.jsonl")
	if e.format == "torchtitan" {
		to = "lines:" + directory
	}
	output, err := exec.CommandContext(t.Context(), os.Getenv("PHASEGEN"), "run", "-format", e.format, "-ranks", "8", "-step", "800ms",
		"-duration", duration.String(), "-batch", delay.String(), "-to", to, "-truth", truth, "-dcgm-listen", addresses[2]).CombinedOutput()
	require.NoError(t, err, "%s", output)
	<-time.After(2 * time.Second)                              // file_log reads the last lines
	require.NoError(t, collector.Process.Signal(os.Interrupt)) // it forwards what waits
	require.NoError(t, collector.Wait())
	return e.judge(t, prometheus.points(), readTruth(t, truth))
}

func waitUntilReady(t *testing.T, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, http.NoBody)
		if err != nil {
			return false
		}
		response, err := http.DefaultClient.Do(request)
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond)
}

// point is a point of the utilization of a GPU.
type point struct {
	uuid, resolution, path string
	at                     int64
}

// capture takes what the collector exports.
type capture struct {
	*httptest.Server
	mu    sync.Mutex
	found []point
}

func newCapture() *capture {
	c := &capture{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/v1/metrics") {
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			body = unzipped
		}
		content, err := io.ReadAll(body)
		request := pmetricotlp.NewExportRequest()
		if err != nil || request.UnmarshalProto(content) != nil {
			http.Error(w, "not a request", http.StatusBadRequest)
			return
		}
		c.add(request.Metrics())
	}))
	return c
}

func (c *capture) add(md pmetric.Metrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Name() != "DCGM_FI_DEV_GPU_UTIL" {
					continue
				}
				for _, p := range metric.Gauge().DataPoints().All() {
					text := func(key string) string {
						v, ok := p.Attributes().Get(key)
						if !ok {
							return ""
						}
						return v.AsString()
					}
					c.found = append(c.found, point{text("UUID"), text("phase_resolution"), text("phase_path"), int64(p.Timestamp())})
				}
			}
		}
	}
}

func (c *capture) points() []point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.found)
}

// interval is a time during which a GPU's process was in the same phase.
type interval struct {
	From, To int64
	Path     string
}

// readTruth returns the intervals of each GPU.
func readTruth(t *testing.T, name string) map[string][]interval {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	truth := map[string][]interval{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var process struct {
			UUID      string
			Worker    int
			Intervals []interval
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &process))
		if process.Worker == 0 {
			truth[process.UUID] = append(truth[process.UUID], process.Intervals...)
		}
	}
	require.NoError(t, lines.Err())
	return truth
}

// counts are the numbers of points by what became of them.
type counts map[string]int

func (c counts) total() (n int) {
	for _, count := range c {
		n += count
	}
	return n
}

func (c counts) of(verdict string) float64 { return float64(c[verdict]) / float64(max(c.total(), 1)) }

// judge compares the points that were read while the job ran with the truth. At a change of
// phases, which is known to a microsecond, both are right.
func (e *example) judge(t *testing.T, points []point, truth map[string][]interval) counts {
	t.Helper()
	const rounding = int64(2 * time.Microsecond)
	found := counts{}
	for _, p := range points {
		all := truth[p.uuid]
		if len(all) == 0 || p.at < all[0].From || p.at > all[len(all)-1].To {
			continue
		}
		right := p.path == ""
		for _, i := range all {
			if i.From-rounding <= p.at && p.at <= i.To+rounding {
				label := ""
				if i.Path != "" {
					label = e.label(i.Path)
				}
				if right = label == p.path; right {
					break
				}
			}
		}
		switch {
		case p.resolution == "ambiguous":
			found["ambiguous"]++
		case right:
			found["right"]++
		case p.path == "":
			found["none"]++
		default:
			found["wrong"]++
		}
	}
	require.Greater(t, found.total(), 100)
	return found
}
