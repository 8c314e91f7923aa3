// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/phaseattr/phaseattr/benchmarks/internal/fleet"
)

// The row that `ratio to best floor` is taken from: the rank on the resource, as an SDK
// writes it, and a usual number of labels.
const (
	bestRatioIdentity = fleet.OnResource
	bestRatioLabels   = 5
)

// bestCase is a row of the table against the best floor.
type bestCase struct {
	identity fleet.Identity
	title    string // of the identity
	labels   int    // on each point, before the two attributes are added
}

func (c bestCase) name() string {
	return fmt.Sprintf("best floor, %d attributes, %s", c.labels, c.title)
}

func bestCases() []bestCase {
	var cases []bestCase
	for _, named := range []struct {
		identity fleet.Identity
		title    string
	}{
		{fleet.OnResource, "rank on the resource"},
		{fleet.ByDevice, "host and GPU on the points"},
	} {
		for _, labels := range []int{2, 5, 8} {
			cases = append(cases, bestCase{named.identity, named.title, labels})
		}
	}
	return cases
}

// workload compares phase_attr with the best floor on the gauges of a node.
func (c bestCase) workload(ctx context.Context, n *node, ours *pipelines) (*workload, error) {
	s := metricsSignal
	s.put = putReserved
	gauges := fleet.Gauges{Job: n.job, Identity: c.identity, Labels: c.labels}
	return newWorkload(ctx, c.name(), s, n.job, n.gauges, gauges, []*pipelines{ours})
}

// putReserved is the best floor: it reserves room for both attributes at once. Two bare
// PutStr calls let the map grow beyond that, and pay for it.
func putReserved(md pmetric.Metrics) {
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				for _, dp := range metric.Gauge().DataPoints().All() {
					attrs := dp.Attributes()
					attrs.EnsureCapacity(attrs.Len() + 2)
					put(attrs)
				}
			}
		}
	}
}
