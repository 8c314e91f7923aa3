// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const orgHeader = "X-Scope-OrgID"

func withTenants(cfg *Config) { cfg.MetadataKeys = []string{orgHeader} }

// from is the context of a client that sends the values of a header, in any case of its key.
func from(t *testing.T, orgs ...string) context.Context {
	return fromClient(t, map[string][]string{strings.ToLower(orgHeader): orgs})
}

func fromClient(t *testing.T, headers map[string][]string) context.Context {
	t.Helper()
	return client.NewContext(t.Context(), client.Info{Metadata: client.NewMetadata(headers)})
}

// sendLogs sends a batch of a client through the logs pipeline.
func (p *pipelines) sendLogs(t *testing.T, ctx context.Context, ld plog.Logs) { //nolint:revive // t comes first
	t.Helper()
	require.NoError(t, p.logs.ConsumeLogs(ctx, ld))
}

// answersTo returns the attributes of the first data point of a batch of a client.
func (p *pipelines) answersTo(t *testing.T, ctx context.Context, md pmetric.Metrics) object { //nolint:revive // as above
	t.Helper()
	p.metricsSink.Reset()
	require.NoError(t, p.metrics.ConsumeMetrics(ctx, md))
	return attributesOfMetrics(p.metricsSink.AllMetrics()[0])[0]
}

// trains sends the events of a run of a client that enters a phase on a device, and goes on.
func (p *pipelines) trains(t *testing.T, ctx context.Context, phase string) *program { //nolint:revive // as above
	t.Helper()
	run := &program{session: "run"}
	place := on("node", 10, 0)
	p.sendLogs(t, ctx, records(t, with(run.worker(1).enter(1, phase), place), with(run.event("sample", 10), place)))
	return run
}

func TestTenantsHaveSessionsAndPlacesOfTheirOwn(t *testing.T) {
	p := startPipelines(t, withTenants)
	red, blue, none := from(t, "red"), from(t, "blue"), t.Context()
	run := p.trains(t, red, "train")
	p.trains(t, blue, "serve")

	for _, ask := range []pmetric.Metrics{
		run.gauge(2), gpu("node", "0", 2), sessionGauge("run", 2),
	} {
		for ctx, want := range map[context.Context]any{red: "train", blue: "serve", none: nil} {
			md := pmetric.NewMetrics()
			ask.CopyTo(md)
			got := p.answersTo(t, ctx, md)
			assert.Equal(t, want, got["phase_path"])
			if want != nil {
				assert.Equal(t, "unique", got["phase_resolution"])
			}
		}
	}

	// Neither a stop nor a start elsewhere ends the run of another tenant.
	place := on("node", 10, 0)
	p.sendLogs(t, blue, records(t, with(run.event("stop", 11), place)))
	p.sendLogs(t, none, records(t, with(run.event("start", 11), place), with((&program{session: "new"}).worker(1).enter(12, "other"), place)))
	p.sendLogs(t, red, records(t, with(run.event("sample", 20), place)))
	assert.Equal(t, "train", p.answersTo(t, red, run.gauge(15))["phase_path"])
	assert.Equal(t, "train", p.answersTo(t, red, gpu("node", "0", 15))["phase_path"])
	assert.Nil(t, p.answersTo(t, blue, run.gauge(15))["phase_path"])
}

// sessionGauge is a data point that names a session, but no rank.
func sessionGauge(session string, at float64) pmetric.Metrics {
	md := (&program{session: session}).gauge(at)
	for _, resource := range md.ResourceMetrics().All() {
		resource.Resource().Attributes().Remove("rank")
	}
	return md
}

func TestTelemetryWithoutMetadataIsOfTheDefaultTenant(t *testing.T) {
	p := startPipelines(t, withTenants, func(cfg *Config) { cfg.DefaultTenant = "red" })
	run := p.trains(t, t.Context(), "train")
	assert.Equal(t, "train", p.answersTo(t, from(t, "red"), run.gauge(2))["phase_path"])
	assert.Equal(t, "train", p.answersTo(t, from(t, ""), run.gauge(2))["phase_path"], "an empty value names nobody")
	assert.Nil(t, p.answersTo(t, from(t, "blue"), run.gauge(2))["phase_path"])
}

func TestTenantsAreToldApartByAllValuesOfAllKeys(t *testing.T) {
	tenants := newTenants(newConfig(t, func(cfg *Config) { cfg.MetadataKeys = []string{"a", "b"} }))
	seen := map[string]map[string][]string{}
	for _, headers := range []map[string][]string{
		{},
		{"a": {"x"}},
		{"b": {"x"}},
		{"a": {"x"}, "b": {"x"}},
		{"a": {"x", "x"}},
		{"a": {"x,x"}},
		{"a": {`x\`, "x"}},
		{"a": {`x\,x`}},
		{"a": {"x/"}},
		{"a": {"x", ""}},
		{"a": {"x/x"}},
		{"a": {"x"}, "b": {"x/"}},
		{"a": {strings.Repeat("x", 1000)}},
		{"a": {strings.Repeat("x", 1001)}},
	} {
		name, ok := tenants.of(fromClient(t, headers))
		assert.True(t, ok)
		assert.LessOrEqual(t, len(name), tenants.maxTextSize)
		require.NotContains(t, seen, name, "%v", headers)
		seen[name] = headers
	}
}

func TestTenantsBeyondTheLimitGetNoPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withTenants, func(cfg *Config) {
			cfg.MetadataCardinalityLimit, cfg.Attributes = 1, append(cfg.Attributes, "phase_reason")
		})
		run := p.trains(t, from(t, "red"), "train")
		p.logsSink.Reset()
		p.trains(t, from(t, "blue"), "serve")
		assert.Equal(t, 2, p.logsSink.LogRecordCount(), "they go on")
		got := p.answersTo(t, from(t, "blue"), run.gauge(2))
		assert.Equal(t, "metadata_cardinality_limit", got["phase_reason"])
		assert.Nil(t, got["phase_path"])
		assertCounts(t, p.telemetry, "boundaries", count(1, "outcome", "accepted"), count(1, "outcome", "rejected", "reason", "metadata_cardinality_limit"))

		p.trains(t, t.Context(), "serve")
		assert.Equal(t, "serve", p.answersTo(t, t.Context(), run.gauge(2))["phase_path"], "there is always room for the default one")
		assert.Equal(t, "train", p.answersTo(t, from(t, "red"), run.gauge(2))["phase_path"])

		time.Sleep(time.Hour) // red is forgotten
		p.trains(t, from(t, "blue"), "serve")
		assert.Equal(t, "serve", p.answersTo(t, from(t, "blue"), run.gauge(2))["phase_path"])
	})
}

func TestTelemetryOfTenantsWaitsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPipelines(t, withTenants, withGrace)
		red, blue := from(t, "red"), from(t, "blue")
		run := p.trains(t, red, "train")
		p.trains(t, blue, "serve")
		p.metricsSink.Reset()
		for _, ctx := range []context.Context{red, blue} {
			require.NoError(t, p.metrics.ConsumeMetrics(ctx, run.gauge(12)))
		}
		synctest.Wait()
		require.Empty(t, p.metricsSink.AllMetrics())
		p.sendLogs(t, blue, records(t, with(run.event("sample", 13), on("node", 10, 0))))
		synctest.Wait()
		require.Len(t, p.metricsSink.AllMetrics(), 1, "the events of a tenant do not release what another one's wait for")
		time.Sleep(time.Minute)
		require.Len(t, p.metricsSink.AllMetrics(), 2)
		for i, want := range []string{"serve", "train"} {
			assert.Equal(t, want, attributesOfMetrics(p.metricsSink.AllMetrics()[i])[0]["phase_path"])
			assert.Equal(t, []string{[]string{"blue", "red"}[i]}, client.FromContext(p.metricsSink.Contexts()[i]).Metadata.Get(orgHeader))
		}
	})
}

func TestTenantsOutliveARestart(t *testing.T) {
	directory := t.TempDir()
	p := startOn(t, directory, withTenants)
	run := p.trains(t, from(t, "red"), "train")
	p.trains(t, from(t, "blue"), "serve")
	p.trains(t, t.Context(), "debug")
	for _, again := range []string{"from the journal", "from snapshots"} {
		left := killed(t, directory)
		if again == "from snapshots" {
			p.shutdown(t)
			left = directory
		}
		q := startOn(t, left, withTenants, func(cfg *Config) { cfg.MetadataCardinalityLimit = 1 })
		for org, want := range map[string]any{"red": "train", "blue": "serve", "": "debug"} {
			assert.Equal(t, want, q.answersTo(t, from(t, org), run.gauge(2))["phase_path"], again)
			assert.Equal(t, want, q.answersTo(t, from(t, org), gpu("node", "0", 2))["phase_path"], again)
		}
		q.shutdown(t)
	}
}

// withOrg is a context of a client that sends a value of the header.
func withOrg(ctx context.Context, org string) context.Context {
	return client.NewContext(ctx, client.Info{Metadata: client.NewMetadata(map[string][]string{strings.ToLower(orgHeader): {org}})})
}

// answersOf lists the answers to a tenant's data points, by the step that their resource
// names.
func answersOf(p *pipelines, org string) []string {
	var all []string
	for i, md := range p.metricsSink.AllMetrics() {
		if !slices.Contains(client.FromContext(p.metricsSink.Contexts()[i]).Metadata.Get(orgHeader), org) {
			continue
		}
		for _, resource := range md.ResourceMetrics().All() {
			step, _ := resource.Resource().Attributes().Get("step")
			for _, metric := range resource.ScopeMetrics().At(0).Metrics().All() {
				for _, dp := range metric.Gauge().DataPoints().All() {
					got := dp.Attributes().AsRaw()
					all = append(all, fmt.Sprintf("%03d %s: %v %v %v", step.Int(), metric.Name(), got["phase_resolution"], got["phase_path"], got["phase_reason"]))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
