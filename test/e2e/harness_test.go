// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e tests the built collector from outside: it runs it as a process, sends it
// telemetry, and reads the output of its file exporters.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/loopback"
)

const (
	// waitTimeout is how long a test waits for an expected event.
	waitTimeout = 30 * time.Second
	// pollInterval is how often it checks.
	pollInterval = 20 * time.Millisecond
)

// collector is a running collector process.
type collector struct {
	otlp      string // the address of the OTLP receiver, over HTTP
	second    string // another OTLP address, in configurations with two
	health    string // the address of the health check
	telemetry string // the address of the collector's own metrics
	output    string // the directory that the file exporters write to
	log       string // the file with the output of the process

	command *exec.Cmd
	exited  chan struct{} // closed when the process has exited
	status  error         // set before exited is closed
	killed  bool          // whether the test killed it
}

// start launches the collector and waits until it is ready.
func start(t *testing.T, env []string, onTop ...string) *collector {
	t.Helper()
	c := launch(t, env, onTop...)
	c.waitUntilReady(t, 1)
	return c
}

// launch runs the collector with testdata/collector/otlp.yaml and the files in onTop.
// Relative names refer to testdata/collector. env has the variables, as NAME=VALUE, that
// these files need.
func launch(t *testing.T, env []string, onTop ...string) *collector {
	t.Helper()
	binary := os.Getenv("OTELCOL_PHASEATTR")
	require.NotEmpty(t, binary, "OTELCOL_PHASEATTR must be the path of the built collector; make e2e sets it")

	addresses, err := loopback.FreeAddresses(4) // in one call, so that they differ
	require.NoError(t, err)
	c := &collector{
		otlp: addresses[0], second: addresses[1], health: addresses[2], telemetry: addresses[3],
		output: t.TempDir(), log: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{}),
	}
	var args []string
	for _, file := range append([]string{"otlp.yaml"}, onTop...) {
		if !filepath.IsAbs(file) {
			file = filepath.Join("..", "..", "testdata", "collector", file)
		}
		args = append(args, "--config", file)
	}
	_, telemetryPort, err := net.SplitHostPort(c.telemetry)
	require.NoError(t, err)
	printed, err := os.Create(c.log)
	require.NoError(t, err)
	defer printed.Close() // the process has its own handle

	c.command = exec.Command(binary, args...)
	c.command.Env = append(os.Environ(),
		"OTLP_ADDRESS="+c.otlp, "SECOND_ADDRESS="+c.second, "HEALTH_ADDRESS="+c.health, "TELEMETRY_PORT="+telemetryPort, "OUTPUT="+c.output)
	c.command.Env = append(c.command.Env, env...)
	c.command.Stdout, c.command.Stderr = printed, printed
	require.NoError(t, c.command.Start())
	go func() {
		c.status = c.command.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() { c.cleanUp(t) })
	return c
}

// cleanUp kills a collector that a failed test left running and logs its output.
func (c *collector) cleanUp(t *testing.T) {
	t.Helper()
	c.quit()
	if t.Failed() && !c.killed {
		t.Logf("output of the collector:\n%s", c.printed(t))
	}
}

// quit terminates a collector with a dump of its goroutines.
func (c *collector) quit() {
	_ = c.command.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.exited:
	case <-time.After(waitTimeout):
		_ = c.command.Process.Kill()
		<-c.exited
	}
}

func (c *collector) running() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// waitUntilReady waits until the collector has logged for the nth time that it is ready
// and its health check confirms it.
func (c *collector) waitUntilReady(t *testing.T, nth int) {
	t.Helper()
	c.eventually(t, "ready", func() bool { return c.ready(t, nth) })
}

func (c *collector) ready(t *testing.T, nth int) bool {
	t.Helper()
	if bytes.Count(c.printed(t), []byte("Everything is ready.")) < nth {
		return false
	}
	status, _, err := get("http://" + c.health)
	return err == nil && status == http.StatusOK
}

// eventually waits for a condition while the collector runs.
func (c *collector) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.True(t, c.await(waitTimeout, condition), "timed out waiting for: %s", what)
	if !c.running() && !condition() {
		require.FailNow(t, "the collector exited", "waiting for: %s", what)
	}
}

// await waits for a condition or the exit of the collector. It returns false on a timeout.
func (c *collector) await(limit time.Duration, condition func() bool) bool {
	for deadline := time.After(limit); !condition(); {
		select {
		case <-c.exited:
			return true
		case <-deadline:
			return false
		case <-time.After(pollInterval):
		}
	}
	return true
}

// client keeps enough idle connections for the concurrent senders of the tests.
var client = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: waitTimeout}

func get(url string) (status int, body []byte, err error) {
	response, err := client.Get(url) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// signal sends a signal to the collector. A connection that was never used would delay
// the shutdown of its HTTP server by 5 s.
func (c *collector) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	client.CloseIdleConnections()
	require.NoError(t, c.command.Process.Signal(signal))
}

// stop stops the collector as an operator does and checks that it logged no errors.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	c.awaitCleanExit(t)
}

// stopAllowingErrors is like stop for a collector that may have logged errors.
func (c *collector) stopAllowingErrors(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	c.awaitExit(t)
	checkLog(t, c.printed(t), "debug", "info", "warn", "error")
}

// kill kills the collector. It must be running until then and have printed nothing but
// log lines.
func (c *collector) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.command.Process.Kill())
	<-c.exited
	var exit *exec.ExitError
	require.ErrorAs(t, c.status, &exit)
	require.Equal(t, "signal: killed", exit.Error(), "exit of the collector")
	printed := c.printed(t)
	lines := printed[:bytes.LastIndexByte(printed, '\n')+1] // the last one may be incomplete
	checkLog(t, lines, "debug", "info", "warn", "error")
	c.killed = true
}

// awaitCleanExit waits for the exit of a collector that is stopping. It must exit with
// status 0 and have logged no errors.
func (c *collector) awaitCleanExit(t *testing.T) {
	t.Helper()
	c.awaitExit(t)
	checkLog(t, c.printed(t), "debug", "info", "warn")
}

func (c *collector) awaitExit(t *testing.T) {
	t.Helper()
	select {
	case <-c.exited:
	case <-time.After(waitTimeout):
		require.FailNow(t, "the collector does not exit")
	}
	require.NoError(t, c.status, "exit status of the collector")
}

// checkLog checks that the output of the collector consists of log lines of the given
// levels, without a panic or a data race.
func checkLog(t *testing.T, lines []byte, levels ...string) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var entry struct{ Level string }
		require.NoError(t, json.Unmarshal(line, &entry), "the collector printed: %s", line)
		require.Contains(t, levels, entry.Level, "the collector logged: %s", line)
	}
}

func (c *collector) printed(t *testing.T) []byte {
	t.Helper()
	printed, err := os.ReadFile(c.log)
	require.NoError(t, err)
	return printed
}

// counts returns the values of one of the collector's own metrics by one of its labels.
func (c *collector) counts(t *testing.T, metric, label string) map[string]int {
	t.Helper()
	sample := regexp.MustCompile(fmt.Sprintf(`(?m)^%s\{(?:.*,)?%s="([^"]*)".*\} (\S+)$`, metric, label))
	values := map[string]int{}
	for _, found := range sample.FindAllSubmatch(c.scrape(t), -1) {
		value, err := strconv.ParseFloat(string(found[2]), 64)
		require.NoError(t, err)
		if value != 0 { // all series exist from the start
			values[string(found[1])] += int(value)
		}
	}
	return values
}

// total returns the sum of one of the collector's own metrics over all labels.
func (c *collector) total(t *testing.T, metric string) int {
	t.Helper()
	samples := regexp.MustCompile(`(?m)^`+metric+`(?:\{.*\})? (\S+)$`).FindAllSubmatch(c.scrape(t), -1)
	require.NotEmpty(t, samples, metric)
	total := 0
	for _, sample := range samples {
		value, err := strconv.ParseFloat(string(sample[1]), 64)
		require.NoError(t, err)
		total += int(value)
	}
	return total
}

// scrape returns the page of the collector's own metrics.
func (c *collector) scrape(t *testing.T) []byte {
	t.Helper()
	status, body, err := get("http://" + c.telemetry + "/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	return body
}
