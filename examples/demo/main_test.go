// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/phaseattr/phaseattr/test/loopback"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// endless is a program that runs until it is asked to stop, and says so.
const endless = `trap 'echo "$0" >> "$STOPPED"; exit 0' TERM
while :; do sleep 0.01; done`

// programs writes shell scripts in place of the programs of the demo, and returns
// options to run them and the file in which endless ones say that they have stopped.
func programs(t *testing.T, scripts map[string]string) (o *options, stopped string) {
	t.Helper()
	addresses, err := loopback.FreeAddresses(1) // nothing listens there
	require.NoError(t, err)
	o = &options{bin: t.TempDir(), out: t.TempDir(), prometheus: addresses[0], nodes: 1, duration: time.Hour}
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(o.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	stopped = filepath.Join(o.out, "stopped")
	t.Setenv("STOPPED", stopped)
	return o, stopped
}

func lines(t *testing.T, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Count(string(content), "\n")
}

// When the job ends, the others are stopped and waited for.
func TestEndsWithTheJob(t *testing.T) {
	o, stopped := programs(t, map[string]string{"prometheus": endless, "otelcol-phaseattr": endless, "phasegen": "sleep 0.3"})
	require.NoError(t, run(t.Context(), o))
	assert.Equal(t, 2, lines(t, stopped))
	for _, file := range []string{stopped, filepath.Join(o.out, "phasegen.log")} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
	info, err := os.Stat(filepath.Join(o.out, "data"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// An error of a process ends the demo and says where its log is.
func TestEndsWithAProcessThatFails(t *testing.T) {
	o, stopped := programs(t, map[string]string{
		"prometheus": "sleep 0.3; echo 'address in use' >&2; exit 3", "otelcol-phaseattr": endless, "phasegen": endless,
	})
	err := run(t.Context(), o)
	log := filepath.Join(o.out, "prometheus.log")
	require.EqualError(t, err, "prometheus: exit status 3; its log is "+log)
	assert.Equal(t, 1, lines(t, log))
	assert.Equal(t, 2, lines(t, stopped))
}

// Ctrl-C stops all processes.
func TestInterrupted(t *testing.T) {
	o, stopped := programs(t, map[string]string{"prometheus": endless, "otelcol-phaseattr": endless, "phasegen": endless})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, run(ctx, o), context.DeadlineExceeded)
	assert.Equal(t, 3, lines(t, stopped))
}

// The table has the phases in Prometheus, and is not printed before there are any.
func TestTable(t *testing.T) {
	annotated := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		series := `{"metric":{},"value":[1,"1"]}`
		if annotated {
			value := map[string]string{meanQuery: "50", countQuery: "3"}[request.FormValue("query")]
			series += `,{"metric":{"phase_path":"train"},"value":[1,"` + value + `"]}`
		}
		_, err := w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[` + series + `]}}`))
		assert.NoError(t, err)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	o := &options{prometheus: server.Listener.Addr().String()}
	_, ok := o.phases(t.Context())
	assert.False(t, ok)
	annotated = true
	rows, ok := o.phases(t.Context())
	require.True(t, ok)
	var out strings.Builder
	require.NoError(t, printRows(&out, rows))
	assert.Equal(t, `
phase       time   GPU utilization
(no phase)  25.0%    1.0% 
train       75.0%   50.0% ####################
`, out.String())
}
