// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import "testing"

// TestComponentIDsShareNothing sends the boundaries of one run through phase_attr/a,
// those of another through phase_attr/b, and the metrics and spans of both runs through
// both: each annotates only the run whose boundaries it received, in all its pipelines.
func TestComponentIDsShareNothing(t *testing.T) {
	single, threads := loadCapture(t, "single"), loadCapture(t, "threads")
	a := start(t, nil, "components.yaml")
	b := *a // the same process
	b.otlp = a.second

	a.send(t, single.logs(t, single.events))
	b.send(t, threads.logs(t, threads.events))
	spans := map[string]annotations{}
	for _, run := range []*capture{single, threads} {
		td, want, _ := run.traces(t)
		spans[run.name] = want
		for _, c := range []*collector{a, &b} {
			for _, md := range run.metrics(t) {
				c.send(t, md)
			}
			c.send(t, td)
		}
	}
	a.stop(t)

	for _, id := range []struct {
		name, suffix   string
		known, unknown *capture
	}{
		{"phase_attr/a", "", single, threads},
		{"phase_attr/b", "_b", threads, single},
	} {
		t.Run(id.name, func(t *testing.T) {
			logs := logAnnotations(t, a.logs(t, "logs"+id.suffix))
			compare(t, "logs", id.known.expectedLogs(), logs)
			nothingElse(t, "logs", logs)

			metrics := metricAnnotations(t, a.metrics(t, "metrics"+id.suffix))
			compare(t, "metrics of the known run", id.known.expectedMetrics(t), metrics)
			compare(t, "metrics of the unknown run", unannotated(id.unknown.expectedMetrics(t)), metrics)
			nothingElse(t, "metrics", metrics)

			traces := spanAnnotations(t, a.traces(t, "traces"+id.suffix))
			compare(t, "spans of the known run", spans[id.known.name], traces)
			compare(t, "spans of the unknown run", unannotated(spans[id.unknown.name]), traces)
			nothingElse(t, "spans", traces)
		})
	}
}

// unannotated returns the same records without annotations.
func unannotated(records annotations) annotations {
	none := annotations{}
	for k := range records {
		none[k] = annotation{}
	}
	return none
}
