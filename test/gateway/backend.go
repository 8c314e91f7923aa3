// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// backend receives what the gateways export, as a store of metrics does, and writes it to
// a file.
type backend struct {
	url, file string

	// mu guards what follows.
	mu  sync.Mutex
	out *os.File
	// points has the gateway that each point came from first, nodes the gateways of a node.
	points map[point]string
	nodes  map[string]map[string]bool
	// twice is the number of points that came again.
	twice int
}

type point struct {
	node, gpu, metric string
	at                int64
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{file: filepath.Join(t.TempDir(), "metrics.jsonl"), points: map[point]string{}, nodes: map[string]map[string]bool{}}
	var err error
	b.out, err = os.Create(b.file)
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if gateway, ok := strings.CutSuffix(strings.Trim(r.URL.Path, "/"), "/v1/metrics"); ok {
			request := pmetricotlp.NewExportRequest()
			if !assert.NoError(t, request.UnmarshalProto(body)) {
				return
			}
			assert.NoError(t, b.add(gateway, request.Metrics()))
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	b.url = server.URL
	t.Cleanup(func() {
		server.Close()
		assert.NoError(t, b.out.Close())
	})
	return b
}

func (b *backend) add(gateway string, md pmetric.Metrics) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				for _, p := range metric.Gauge().DataPoints().All() {
					node, _ := p.Attributes().Get("Hostname")
					gpu, _ := p.Attributes().Get("gpu")
					key := point{node.Str(), gpu.Str(), metric.Name(), int64(p.Timestamp())} //nolint:gosec // times fit
					if _, ok := b.points[key]; ok {
						b.twice++
						continue
					}
					b.points[key] = gateway
					if b.nodes[key.node] == nil {
						b.nodes[key.node] = map[string]bool{}
					}
					b.nodes[key.node][gateway] = true
				}
			}
		}
	}
	line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
	if err != nil {
		return err
	}
	_, err = b.out.Write(append(line, '\n'))
	return err
}

// received returns the number of different points, and of those that came again.
func (b *backend) received() (points, twice int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.points), b.twice
}

// settle waits until no new point has come for some time, or all have.
func (b *backend) settle(all int) {
	quiet := time.Now()
	for last := -1; time.Since(quiet) < 12*time.Second; time.Sleep(pollInterval) {
		points, _ := b.received()
		if points == all {
			return
		}
		if points != last {
			last, quiet = points, time.Now()
		}
	}
}

// shares returns how many nodes each gateway has sent points of.
func (b *backend) shares() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	shares := map[string]int{}
	for _, gateways := range b.nodes {
		for gateway := range gateways {
			shares[gateway]++
		}
	}
	return shares
}
