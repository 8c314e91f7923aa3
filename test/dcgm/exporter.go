// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// node is where a GPU is, as the pages name it.
type node struct{ label, name string }

// host is the node of the GPUs, unless a setup has others.
const host = "gpu-node-1"

// oneNode has both GPUs, as the pages of a dcgm-exporter do.
func oneNode() [2]node { return [2]node{{"Hostname", host}, {"Hostname", host}} }

// metric is a metric of dcgm-exporter, with type and help as in the exporter's
// default-counters.csv and dcp-metrics-included.csv. The value is a function of the
// scrape and the GPU, so that stored values can be traced back.
type metric struct {
	name, kind, help string
	value            func(scrape, gpu int) float64
}

// The metrics on a page, in order. Values differ between consecutive scrapes.
var (
	smClock = metric{
		"DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).",
		func(scrape, gpu int) float64 { return float64(210 + scrape + 5000*gpu) },
	}
	powerUsage = metric{
		"DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).",
		func(scrape, gpu int) float64 { return 70 + float64((scrape*29+gpu*17)%630) + 0.25 },
	}
	energy = metric{
		"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ).",
		func(scrape, gpu int) float64 { return float64(4_000_000_000 + scrape*(350_000+scrape*17+gpu*9_001)) },
	}
	gpuUtil = metric{
		"DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).",
		func(scrape, gpu int) float64 { return float64((scrape*37 + gpu*11) % 101) },
	}
	fbUsed = metric{
		"DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).",
		func(scrape, gpu int) float64 { return float64(30_000 + (scrape*401+gpu*53)%50_000) },
	}
	tensorActive = metric{
		"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "gauge", "Ratio of cycles the tensor (HMMA) pipe is active.",
		func(scrape, gpu int) float64 { return float64((scrape*173+gpu*7)%1000) / 1000 },
	}
)

func metrics() []metric {
	return []metric{smClock, powerUsage, energy, gpuUtil, fbUsed, tensorActive}
}

// exporter serves pages like dcgm-exporter.
type exporter struct {
	address string
	scrapes atomic.Int64 // number of pages served
}

func startExporter(t *testing.T, nodes [2]node) *exporter {
	t.Helper()
	e := &exporter{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, page(int(e.scrapes.Add(1)), nodes))
	}))
	t.Cleanup(server.Close)
	e.address = server.Listener.Addr().String()
	return e
}

// page returns the page of two GPUs.
func page(scrape int, nodes [2]node) string {
	var text strings.Builder
	for _, m := range metrics() {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for gpu, on := range nodes {
			fmt.Fprintf(&text, `%s{gpu="%d",UUID="%s",pci_bus_id="00000000:%02X:00.0",device="nvidia%d",`+
				`modelName="NVIDIA H100 80GB HBM3",%s="%s",DCGM_FI_DRIVER_VERSION="570.133.20"} %v`+"\n",
				m.name, gpu, uuid(gpu), 0x18+gpu*0x12, gpu, on.label, on.name, m.value(scrape, gpu))
		}
	}
	return text.String()
}

func uuid(gpu int) string {
	return fmt.Sprintf("GPU-6f8b3c1e-5d0a-4a7e-9a51-0c2f7be4d1%02d", gpu)
}
