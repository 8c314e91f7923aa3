// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dashboards

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDashboardsMatchGrafanaTypes(t *testing.T) {
	eachFile(t, func(t *testing.T, content []byte) {
		message, accepted := typeCheck(t, string(content))
		require.True(t, accepted, message)
	})
}

func TestInvalidDashboardsAreRejected(t *testing.T) {
	content, err := os.ReadFile(grafana("dashboards", "gpus.json"))
	require.NoError(t, err)
	for name, broken := range map[string]struct{ from, to, message string }{
		"wrong type":                      {`"unit": "percent"`, `"unit": 5`, `Type 'number' is not assignable to type 'string'`},
		"unknown value":                   {`"mode": "multi"`, `"mode": "many"`, `Type '"many"' is not assignable to type '"multi" | "none" | "single"'`},
		"unknown number":                  {`"refresh": 2`, `"refresh": 7`, `Type '7' is not assignable to type 'VariableRefresh'`},
		"unknown field":                   {`"lineWidth"`, `"lineWith"`, `'"lineWith"' does not exist`},
		"option of another kind of panel": {`"textMode": "auto"`, `"textMode": "auto", "displayMode": "basic"`, `'"displayMode"' does not exist`},
		"unsupported kind of panel":       {`"type": "timeseries"`, `"type": "graph"`, `Type '"graph"' is not assignable`},
		"query without PromQL":            {`"expr"`, `"query"`, `'"query"' does not exist`},
		"missing field":                   {`"showUnfilled": true,`, ``, `Property 'showUnfilled' is missing`},
		"override of the wrong type":      {`"overrides": []`, `"overrides": [{"matcher": {"id": "byName", "options": "a"}, "properties": [{"id": "unit", "value": 1}]}]`, `not assignable`},
		"fixed data source":               {`"uid": "${datasource}"`, `"uid": "mine"`, `"mine"`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(content), broken.from)
			message, accepted := typeCheck(t, strings.Replace(string(content), broken.from, broken.to, 1))
			require.False(t, accepted)
			require.Contains(t, message, broken.message)
		})
	}
}

// typeCheck compiles an assignment of a dashboard to the type in dashboard.ts.
func typeCheck(t *testing.T, dashboard string) (message string, accepted bool) {
	t.Helper()
	packages := os.Getenv("GRAFANA_TYPES")
	require.NotEmpty(t, packages, "GRAFANA_TYPES must be the path of node_modules; make e2e-dashboards sets it")
	compilers, err := filepath.Glob(filepath.Join(packages, "@typescript", "typescript-*", "lib", "tsc"))
	require.NoError(t, err)
	require.Len(t, compilers, 1)

	dir := t.TempDir()
	require.NoError(t, os.Symlink(packages, filepath.Join(dir, "node_modules")))
	for _, file := range []string{"dashboard.ts", "tsconfig.json"} {
		copyTo(t, dir, file)
	}
	checked := "import type { Dashboard } from './dashboard';\nexport const checked: Dashboard = " + dashboard
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checked.ts"), []byte(checked), 0o600))

	command := exec.CommandContext(t.Context(), compilers[0], "--pretty", "false", "--project", dir)
	output, err := command.CombinedOutput()
	if err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
		require.Contains(t, string(output), "checked.ts(", "the error is in the dashboard")
	}
	return string(output), err == nil
}

func copyTo(t *testing.T, dir, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), content, 0o600))
}
