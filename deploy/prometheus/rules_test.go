// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package prometheus tests that the alerts are documented and tested, and that they use
// metrics that exist. promtool tests what they do.
package prometheus

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const rulesFile = "phase_attr.rules.yml"

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

type rule struct {
	Alert       string
	Record      string
	Labels      map[string]string
	Expr        string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	require.NoError(t, yaml.Unmarshal([]byte(read(t, rulesFile)), &file))
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

func TestEachAlertIsTestedAndSaysWhatToDo(t *testing.T) {
	tests, operations := read(t, "phase_attr.rules_test.yml"), read(t, "../../docs/operations.md")
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		assert.Equal(t, "https://github.com/phaseattr/phaseattr/blob/main/docs/operations.md#"+strings.ToLower(r.Alert), r.Annotations["runbook_url"])
		assert.Contains(t, operations, "\n### "+r.Alert+"\n\n", "docs/operations.md")
		assert.Regexp(t, `alertname: `+r.Alert+`\n +exp_alerts:`, tests, "a test in which it fires")
		assert.Regexp(t, `alertname: `+r.Alert+`}`, tests, "a test in which it is silent")
	}
}

func TestEachRecordIsDocumented(t *testing.T) {
	readme := read(t, "README.md")
	for _, r := range rules(t) {
		if r.Record != "" {
			assert.Contains(t, readme, "| `"+r.Record+"` |")
		}
	}
}

// TestTheLimitsAreTheDefaults compares the numbers in the rules with the table of options.
func TestTheLimitsAreTheDefaults(t *testing.T) {
	options := read(t, "../../processor/phaseattrprocessor/README.md")
	found := 0
	for _, r := range rules(t) {
		if r.Record != "phase_attr:limit:ratio" {
			continue
		}
		_, limit, _ := strings.Cut(r.Expr, " / ")
		assert.Contains(t, options, "| `"+r.Labels["limit"]+"` | int | `"+limit+"` |")
		found++
	}
	assert.Equal(t, 5, found)
}

// TestTheMetricsExist looks for the components' own metrics in their documentation.
func TestTheMetricsExist(t *testing.T) {
	documented := read(t, "../../processor/phaseattrprocessor/documentation.md") +
		read(t, "../../connector/phasespansconnector/documentation.md")
	own := regexp.MustCompile(`otelcol_\w+`)
	found := 0
	for _, r := range rules(t) {
		for _, metric := range own.FindAllString(r.Expr, -1) {
			assert.Contains(t, documented, "\n### "+metric+"\n")
			found++
		}
	}
	assert.Positive(t, found)
}
