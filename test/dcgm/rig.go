// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package dcgm runs examples/dcgm: its collector scrapes pages like those of
// dcgm-exporter, reads the events of two ranks, and fills a Prometheus.
package dcgm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/phaseattr/phaseattr/test/loopback"
)

// Interval is how often the GPUs are scraped.
const Interval = 500 * time.Millisecond

// settling is how long the energy of a phase may be in transit after its end: until the
// next scrape of the GPU, in the example's batches of a second, until the next scrape by
// Prometheus, and for the duration of a scrape.
const settling = Interval + time.Second + 2*Interval

// around is the minimum number of scrapes before and after the run. Some of them follow
// after everything has settled.
const around = 10

// Rig is the running example after a run.
type Rig struct {
	// URL is the base URL of Prometheus, without a trailing slash.
	URL string
	// Start is a time before the first scrape.
	Start time.Time
	// End is a time after everything was stored.
	End time.Time
}

// setup configures a run of the example.
type setup struct {
	// shifts are the ranks to run: those of a shift concurrently, the shifts in sequence.
	shifts [][]*rank
	// onTop lists configuration files to merge into the example's. The environment
	// variable JOB_ADDRESS has the address of a job.
	onTop []string
	// jobs lists further Prometheus jobs.
	jobs []string
	// env has further variables for the collector, as NAME=VALUE.
	env []string
}

// Start starts the example, replays rank 0 on GPU 0 and rank 1 on GPU 1 in 40 s, and returns
// when all points are in Prometheus. Everything keeps running until the test ends.
func Start(t *testing.T) *Rig {
	t.Helper()
	return start(t, setup{shifts: [][]*rank{{loadRank(t, "rank0", 0, 40), loadRank(t, "rank1", 1, 40)}}})
}

func start(t *testing.T, s setup) *Rig {
	t.Helper()
	addresses, err := loopback.FreeAddresses(5 + len(s.jobs))
	require.NoError(t, err)
	server, health, otlp, telemetry, counters := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
	telemetryHost, telemetryPort, err := net.SplitHostPort(telemetry)
	require.NoError(t, err)
	logs := t.TempDir()
	r := &Rig{URL: "http://" + server, Start: time.Now()}
	exporter := startExporter(t)
	env := []string{
		"DCGM_ADDRESS=" + exporter.address, "SCRAPE_INTERVAL=" + Interval.String(),
		"STORMLOG_DIR=" + logs, "STORAGE=" + t.TempDir(), "OTLP_ADDRESS=" + otlp, "HEALTH_ADDRESS=" + health,
		"PROMETHEUS_URL=" + r.URL, "EXPORTER_ADDRESS=" + counters,
		"TELEMETRY_HOST=" + telemetryHost, "TELEMETRY_PORT=" + telemetryPort,
	}
	config := []string{prometheusConfig(t, telemetry, counters)}
	for i, job := range s.jobs {
		env = append(env, strings.ToUpper(job)+"_ADDRESS="+addresses[5+i])
		config = append(config, "  - {job_name: "+job+", static_configs: [{targets: ['"+addresses[5+i]+"']}]}\n")
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(config, "")), 0o600))

	run(t, "PROMETHEUS", nil, "--config.file", file, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", server,
		"--web.enable-otlp-receiver", "--enable-feature", "created-timestamp-zero-ingestion")
	eventually(t, "Prometheus is ready", func() bool { return get(t, r.URL+"/-/ready") != nil })
	args := []string{"--config", example("collector.yaml")}
	for _, file := range s.onTop {
		args = append(args, "--config", file)
	}
	run(t, "OTELCOL_DCGM", append(env, s.env...), args...)

	r.await(t, around)
	known := 0
	for _, shift := range s.shifts {
		for _, rank := range shift {
			require.NoError(t, rank.announce(logs))
		}
		known += len(shift)
		ranks := regexp.MustCompile(fmt.Sprintf(
			`(?m)^otelcol_processor_phase_attr_ranks\{(?:.*,)?processor="phase_attr"[^}]*\} %d$`, known))
		eventually(t, "the ranks are known", func() bool {
			return ranks.Match(get(t, "http://"+telemetry+"/metrics"))
		})
		base := time.Now().UnixNano()
		replays, ctx := errgroup.WithContext(t.Context())
		for _, rank := range shift {
			rank.base = base
			replays.Go(func() error { return rank.replay(ctx, logs) })
		}
		require.NoError(t, replays.Wait())
	}
	scrapes := int(exporter.scrapes.Load()) + around
	r.await(t, scrapes)
	r.awaitEnergy(t, scrapes)
	r.End = time.Now()
	return r
}

// await waits until a number of scrapes are in Prometheus.
func (r *Rig) await(t *testing.T, scrapes int) {
	t.Helper()
	eventually(t, "the scrapes are stored", func() bool {
		series := r.Query(t, `count_over_time(`+smClock.name+`{job="dcgm",gpu="0"}[1h])`, time.Now())
		return len(series) == 1 && int(series[0].Points[0].Value) >= scrapes
	})
}

// awaitEnergy waits until the energy of a number of scrapes is in Prometheus.
func (r *Rig) awaitEnergy(t *testing.T, scrapes int) {
	t.Helper()
	eventually(t, "the energy is stored", func() bool {
		series := r.Query(t, `sum(last_over_time(`+energy.name+`_total{job="dcgm",gpu="0"}[1h]))`, time.Now())
		return len(series) == 1 && series[0].Points[0].Value >= energy.value(scrapes, 0)-energy.value(1, 0)-1
	})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, waitTimeout, pollInterval, what)
}

func example(file string) string {
	return filepath.Join("..", "..", "examples", "dcgm", file)
}

// prometheusConfig returns the example's configuration with other addresses and a shorter
// interval. It ends with the jobs.
func prometheusConfig(t *testing.T, telemetry, counters string) string {
	t.Helper()
	content, err := os.ReadFile(example("prometheus.yml"))
	require.NoError(t, err)
	config := string(content)
	for from, to := range map[string]string{
		"localhost:8888": telemetry, "localhost:8889": counters,
		"scrape_interval: 15s": "scrape_interval: " + Interval.String(),
	} {
		require.Equal(t, 1, strings.Count(config, from), from)
		config = strings.Replace(config, from, to, 1)
	}
	return config
}
