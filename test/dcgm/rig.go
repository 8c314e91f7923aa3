// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package dcgm runs examples/dcgm: its collector scrapes pages like those of
// dcgm-exporter, reads the events of two ranks, and fills a Prometheus.
package dcgm

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/phaseattr/phaseattr/test/loopback"
	"github.com/phaseattr/phaseattr/test/program"
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

	client *http.Client
}

// setup configures a run of the example.
type setup struct {
	// shifts are the ranks to run: those of a shift concurrently, the shifts in sequence.
	shifts [][]*rank
	// nodes are where the GPUs are, oneNode by default.
	nodes [2]node
	// onTop lists configuration files to merge into the example's. The environment
	// variable JOB_ADDRESS has the address of a job.
	onTop []string
	// jobs lists further Prometheus jobs.
	jobs []string
	// exporters lists further exporters of the same GPUs. NAME_DCGM_ADDRESS has the address.
	exporters []string
	// env has further variables for the collector, as NAME=VALUE.
	env []string
	// flags are further flags of the collector.
	flags []string
	// tls is the directory of the certificates with which the collector and Prometheus talk to
	// each other, if they do.
	tls string
}

// Start starts the example, replays rank 0 on GPU 0 and rank 1 on GPU 1 in 40 s, and returns
// when all points are in Prometheus. Everything keeps running until the test ends. The GPUs
// are on two nodes, in labels of which some exporters have one and some the other.
func Start(t *testing.T) *Rig {
	t.Helper()
	nodes := [2]node{{"Hostname", host}, {"hostname", "gpu-node-2"}}
	first, second := loadRank(t, "rank0", 0, 40), loadRank(t, "rank1", 1, 40)
	second.host = nodes[1].name
	return start(t, setup{shifts: [][]*rank{{first, second}}, nodes: nodes})
}

func start(t *testing.T, s setup) *Rig {
	t.Helper()
	if s.nodes == ([2]node{}) {
		s.nodes = oneNode()
	}
	addresses, err := loopback.FreeAddresses(5 + len(s.jobs))
	require.NoError(t, err)
	server, health, otlp, telemetry, counters := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
	telemetryHost, telemetryPort, err := net.SplitHostPort(telemetry)
	require.NoError(t, err)
	logs := t.TempDir()
	r := &Rig{URL: "http://" + server, Start: time.Now(), client: http.DefaultClient}
	scraped, web := counters, ""
	if s.tls != "" {
		r.URL, r.client = "https://"+named(t, server), secureClient(t, s.tls)
		scraped, web = named(t, counters), secureServer(s.tls)
		s.onTop = append(s.onTop, example("secure.yaml"))
		s.env = append(s.env, "TLS_DIR="+s.tls)
	}
	exporter := startExporter(t, s.nodes)
	env := []string{
		"DCGM_ADDRESS=" + exporter.address, "SCRAPE_INTERVAL=" + Interval.String(),
		"STORMLOG_DIR=" + logs, "STORAGE=" + t.TempDir(), "OTLP_ADDRESS=" + otlp, "HEALTH_ADDRESS=" + health,
		"PROMETHEUS_URL=" + r.URL, "EXPORTER_ADDRESS=" + counters,
		"TELEMETRY_HOST=" + telemetryHost, "TELEMETRY_PORT=" + telemetryPort,
	}
	for _, name := range s.exporters {
		env = append(env, strings.ToUpper(name)+"_DCGM_ADDRESS="+startExporter(t, s.nodes).address)
	}
	config := []string{prometheusConfig(t, telemetry, scraped)}
	if s.tls != "" {
		config = append(config, secureScrape(s.tls))
	}
	for i, job := range s.jobs {
		env = append(env, strings.ToUpper(job)+"_ADDRESS="+addresses[5+i])
		config = append(config, "  - {job_name: "+job+", static_configs: [{targets: ['"+addresses[5+i]+"']}]}\n")
	}
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "prometheus.yml"), []byte(strings.Join(config, "")), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "web.yml"), []byte(web), 0o600))

	program.Run(t, "PROMETHEUS", nil, "--config.file", filepath.Join(directory, "prometheus.yml"), "--web.config.file", filepath.Join(directory, "web.yml"),
		"--storage.tsdb.path", t.TempDir(), "--web.listen-address", server,
		"--web.enable-otlp-receiver", "--web.enable-remote-write-receiver", "--enable-feature", "created-timestamp-zero-ingestion")
	program.Eventually(t, "Prometheus is ready", func() bool { return program.GetBy(t, r.client, r.URL+"/-/ready") != nil })
	args := append([]string{"--config", example("collector.yaml")}, s.flags...)
	for _, file := range s.onTop {
		args = append(args, "--config", file)
	}
	program.Run(t, "OTELCOL_DCGM", append(env, s.env...), args...)

	r.await(t, around)
	known := 0
	for _, shift := range s.shifts {
		for _, rank := range shift {
			require.NoError(t, rank.announce(logs))
		}
		known += len(shift)
		ranks := regexp.MustCompile(fmt.Sprintf(
			`(?m)^otelcol_processor_phase_attr_ranks\{(?:.*,)?processor="phase_attr"[^}]*\} %d$`, known))
		program.Eventually(t, "the ranks are known", func() bool {
			return ranks.Match(program.Get(t, "http://"+telemetry+"/metrics"))
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
	program.Eventually(t, "the scrapes are stored", func() bool {
		series := r.Query(t, `count_over_time(`+smClock.name+`{job="dcgm",gpu="0"}[1h])`, time.Now())
		return len(series) == 1 && int(series[0].Points[0].Value) >= scrapes
	})
}

// awaitEnergy waits until the energy of a number of scrapes is in Prometheus.
func (r *Rig) awaitEnergy(t *testing.T, scrapes int) {
	t.Helper()
	program.Eventually(t, "the energy is stored", func() bool {
		series := r.Query(t, `sum(last_over_time(`+energy.name+`_total{job="dcgm",gpu="0"}[1h]))`, time.Now())
		return len(series) == 1 && series[0].Points[0].Value >= energy.value(scrapes, 0)-energy.value(1, 0)-1
	})
}

func example(file string) string {
	return filepath.Join("..", "..", "examples", "dcgm", file)
}

// prometheusConfig returns the example's configuration with other addresses and a shorter
// interval. It ends with the job of the counters.
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
