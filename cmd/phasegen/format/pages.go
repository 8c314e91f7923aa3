// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// Pages serves the metrics of all GPUs as dcgm-exporter does, in Prometheus's text format.
type Pages struct {
	mu sync.Mutex
	// gpus are by the number of their rank.
	gpus []gpu
}

// gpu is a GPU when it was last read.
type gpu struct {
	rank *job.Rank
	at   int64
	load float64
	// energy is what it has used, in millijoules.
	energy float64
}

// NewPages returns the pages of a job. Before the first reading, they are empty.
func NewPages(j *job.Job) *Pages { return &Pages{gpus: make([]gpu, j.WorldSize())} }

// Read takes the reading of a GPU. Other events change nothing.
func (p *Pages) Read(e *job.Event) {
	if e.Kind != job.DeviceReading {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &p.gpus[e.Rank.Number]
	if g.rank != nil {
		g.energy += 1000 * watts(g.load) * time.Duration(e.At-g.at).Seconds()
	}
	g.rank, g.at, g.load = e.Rank, e.At, e.Load
}

// ServeHTTP implements [http.Handler].
func (p *Pages) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(p.page())) // the client may be gone
}

func (p *Pages) page() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text strings.Builder
	for _, m := range dcgmMetrics() {
		p.write(&text, m.name, "gauge", m.help, func(g *gpu) float64 { return m.value(g.load) })
	}
	p.write(&text, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ).",
		func(g *gpu) float64 { return float64(int64(g.energy)) })
	return text.String()
}

func (p *Pages) write(text *strings.Builder, name, kind, help string, value func(*gpu) float64) {
	fmt.Fprintf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for i := range p.gpus {
		g := &p.gpus[i]
		if g.rank == nil {
			continue
		}
		separator := "{"
		text.WriteString(name)
		for _, l := range dcgmLabels(g.rank) {
			fmt.Fprintf(text, "%s%s=%q", separator, l.name, l.value)
			separator = ","
		}
		fmt.Fprintf(text, "} %v\n", value(g))
	}
}
