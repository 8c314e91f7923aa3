// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// A page has the newest reading of each GPU, and the energy that it has used.
func TestPages(t *testing.T) {
	j := job.New(job.Config{
		Ranks: 2, GPUsPerNode: 2, Step: time.Second, Start: time.Unix(1_795_000_000, 0), Duration: 4 * time.Second,
		Sample: time.Second, Reading: time.Second, Plan: format.Training(),
	})
	pages := format.NewPages(j)
	page := func() string {
		recorder := httptest.NewRecorder()
		pages.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		return recorder.Body.String()
	}
	assert.NotContains(t, page(), "UUID")

	r := j.World[1]
	pages.Read(&job.Event{Kind: job.DeviceReading, Rank: r, At: 0, Load: 0.5})
	pages.Read(&job.Event{Kind: job.ProcessReading, Rank: r, At: 1, Load: 1})
	pages.Read(&job.Event{Kind: job.DeviceReading, Rank: r, At: int64(2 * time.Second), Load: 0.9})
	labels := `{gpu="1",UUID="` + r.UUID + `",pci_bus_id="00000000:19:00.0",device="nvidia1",` +
		`modelName="NVIDIA H100 80GB HBM3",Hostname="gpu-node-0000"} `
	assert.Contains(t, page(), "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL"+labels+"90\n")
	// 390 W for 2 s
	assert.Contains(t, page(), "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"+labels+"780000\n")
	assert.Equal(t, 4, strings.Count(page(), `gpu="1"`))
	assert.NotContains(t, page(), `gpu="0"`)
}
