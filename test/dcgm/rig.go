// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package dcgm runs examples/dcgm: its collector scrapes pages as dcgm-exporter serves
// them, reads the events of two ranks, and fills a Prometheus.
package dcgm

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Interval is how often the GPUs are scraped.
const Interval = 500 * time.Millisecond

// around is how many scrapes there are before and after the run, at least.
const around = 5

// Rig is the example after a run of two ranks, rank 0 on GPU 0 and rank 1 on GPU 1.
type Rig struct {
	// URL is where Prometheus answers, without a slash at the end.
	URL string
	// Start is when nothing had been scraped yet.
	Start time.Time
	// End is when all had been stored.
	End time.Time

	ranks    []*rank
	exporter *exporter
}

// Start starts the example, replays the runs in 40 s, and returns when all points are
// in Prometheus. Everything runs on until the test ends.
func Start(t *testing.T) *Rig {
	t.Helper()
	return start(t, nil, nil)
}

// start puts configuration files on top of the collector's, and jobs on top of those of
// Prometheus. The collector finds the address that a job scrapes in the environment
// variable that has the job's name, in capitals, and _ADDRESS.
func start(t *testing.T, onTop, jobs []string) *Rig {
	t.Helper()
	addresses := freeAddresses(t, 5+len(jobs))
	server, health, otlp, telemetry, counters := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
	telemetryHost, telemetryPort, err := net.SplitHostPort(telemetry)
	require.NoError(t, err)
	logs := t.TempDir()
	r := &Rig{
		URL: "http://" + server, Start: time.Now(), exporter: startExporter(t),
		ranks: []*rank{loadRank(t, "rank0", 0), loadRank(t, "rank1", 1)},
	}
	env := []string{
		"DCGM_ADDRESS=" + r.exporter.address, "SCRAPE_INTERVAL=" + Interval.String(),
		"STORMLOG_DIR=" + logs, "STORAGE=" + t.TempDir(), "OTLP_ADDRESS=" + otlp, "HEALTH_ADDRESS=" + health,
		"PROMETHEUS_URL=" + r.URL, "EXPORTER_ADDRESS=" + counters,
		"TELEMETRY_HOST=" + telemetryHost, "TELEMETRY_PORT=" + telemetryPort,
	}
	config := prometheusConfig(t, telemetry, counters)
	for i, job := range jobs {
		env = append(env, strings.ToUpper(job)+"_ADDRESS="+addresses[5+i])
		config += "  - {job_name: " + job + ", static_configs: [{targets: ['" + addresses[5+i] + "']}]}\n"
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))

	run(t, "PROMETHEUS", nil, "--config.file", file, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", server,
		"--web.enable-otlp-receiver", "--enable-feature", "created-timestamp-zero-ingestion")
	eventually(t, "Prometheus is ready", func() bool { return get(t, r.URL+"/-/ready") != nil })
	args := []string{"--config", example("collector.yaml")}
	for _, file := range onTop {
		args = append(args, "--config", file)
	}
	run(t, "OTELCOL_DCGM", env, args...)

	r.await(t, around)
	for _, rank := range r.ranks {
		rank.announce(t, logs)
	}
	groups := regexp.MustCompile(`(?m)^otelcol_processor_phase_attr_groups 2$`)
	eventually(t, "both ranks are known", func() bool {
		return groups.Match(get(t, "http://"+telemetry+"/metrics"))
	})
	r.await(t, int(r.exporter.scrapes.Load())+around)
	base := time.Now().UnixNano()
	var replays sync.WaitGroup
	for _, rank := range r.ranks {
		rank.base = base
		replays.Go(func() { rank.replay(t, logs) })
	}
	replays.Wait()
	r.await(t, int(r.exporter.scrapes.Load())+around)
	r.awaitEnergy(t, int(r.exporter.scrapes.Load()))
	r.End = time.Now()
	return r
}

// await waits until so many scrapes are in Prometheus.
func (r *Rig) await(t *testing.T, scrapes int) {
	t.Helper()
	eventually(t, "the scrapes are stored", func() bool {
		series := r.Query(t, `count_over_time(`+smClock.name+`{job="dcgm",gpu="0"}[1h])`, time.Now())
		return len(series) == 1 && int(series[0].Points[0].Value) >= scrapes
	})
}

// awaitEnergy waits until the energy of so many scrapes is in Prometheus.
func (r *Rig) awaitEnergy(t *testing.T, scrapes int) {
	t.Helper()
	eventually(t, "the energy is stored", func() bool {
		series := r.Query(t, `sum(last_over_time(`+energy.name+`_total{job="dcgm",gpu="0"}[1h]))`, time.Now())
		return len(series) == 1 && series[0].Points[0].Value >= energy.value(scrapes, 0)-energy.value(1, 0)-1
	})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, tick, what)
}

func example(file string) string {
	return filepath.Join("..", "..", "examples", "dcgm", file)
}

// prometheusConfig is the example's configuration with other addresses and a shorter
// interval. Its last section is that of the jobs.
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
