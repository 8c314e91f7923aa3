// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e drives the built collector from outside: it starts it as a process,
// sends it telemetry, and reads what its file exporters wrote.
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
	// patience is how long a test waits for what must happen.
	patience = 30 * time.Second
	// tick is how often it looks.
	tick = 20 * time.Millisecond
)

// collector is a running collector.
type collector struct {
	otlp      string // the address that takes OTLP over HTTP
	second    string // another one, where the configuration has two
	health    string // the address of the health check
	telemetry string // the address of the collector's own metrics
	output    string // the folder that the file exporters write to
	log       string // the file that holds what the process printed

	command *exec.Cmd
	exited  chan struct{} // closed when the process is gone
	status  error         // how it went; set before exited is closed
	killed  bool          // by the test
}

// start launches the collector, and waits until it is ready.
func start(t *testing.T, env []string, onTop ...string) *collector {
	t.Helper()
	c := launch(t, env, onTop...)
	c.waitUntilReady(t, 1)
	return c
}

// launch runs the collector with testdata/collector/otlp.yaml and what is put on top of
// it. A relative name is looked for in testdata/collector. env has the variables,
// NAME=VALUE, that the files on top need.
func launch(t *testing.T, env []string, onTop ...string) *collector {
	t.Helper()
	binary := os.Getenv("OTELCOL_PHASEATTR")
	require.NotEmpty(t, binary, "OTELCOL_PHASEATTR must hold the path of the built collector; make e2e sets it")

	addresses, err := loopback.FreeAddresses(4) // at once, so that no two are the same
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

// cleanUp kills a collector that a failed test left behind, and shows what it printed.
func (c *collector) cleanUp(t *testing.T) {
	t.Helper()
	c.quit()
	if t.Failed() && !c.killed {
		t.Logf("the collector printed:\n%s", c.printed(t))
	}
}

// quit ends a collector that does not end by itself. It prints what it was at.
func (c *collector) quit() {
	_ = c.command.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.exited:
	case <-time.After(patience):
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

// waitUntilReady waits until the collector has said for the nth time that it is ready,
// and its health check says so too.
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

// eventually waits for a condition, but no longer than the collector runs.
func (c *collector) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.True(t, c.await(patience, condition), "waited in vain for: %s", what)
	if !c.running() && !condition() {
		require.FailNow(t, "the collector exited", "waiting for: %s", what)
	}
}

// await waits for a condition or the end of the collector. It returns false when neither
// came in time.
func (c *collector) await(limit time.Duration, condition func() bool) bool {
	for deadline := time.After(limit); !condition(); {
		select {
		case <-c.exited:
			return true
		case <-deadline:
			return false
		case <-time.After(tick):
		}
	}
	return true
}

// client keeps as many connections as the tests have senders.
var client = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: patience}

func get(url string) (status int, body []byte, err error) {
	response, err := client.Get(url) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// signal signals the collector. A connection that was never used would hold up the end
// of its HTTP server for 5 s.
func (c *collector) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	client.CloseIdleConnections()
	require.NoError(t, c.command.Process.Signal(signal))
}

// stop ends the collector as an operator does, and checks that nothing went wrong.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	c.waitForExit(t)
}

// stopTroubled is stop for a collector that may have logged errors.
func (c *collector) stopTroubled(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGTERM)
	c.waitForEnd(t)
	checkLog(t, c.printed(t), "debug", "info", "warn", "error")
}

// kill ends the collector at once, whatever it is doing. It must not have ended by
// itself before, nor have printed anything but log lines.
func (c *collector) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.command.Process.Kill())
	<-c.exited
	var exit *exec.ExitError
	require.ErrorAs(t, c.status, &exit)
	require.Equal(t, "signal: killed", exit.Error(), "how the collector ended")
	printed := c.printed(t)
	lines := printed[:bytes.LastIndexByte(printed, '\n')+1] // the kill may have cut the last one off
	checkLog(t, lines, "debug", "info", "warn", "error")
	c.killed = true
}

// waitForExit waits for the end of a collector that was told to. It must exit with
// status 0, and have printed nothing but log lines below the level of an error.
func (c *collector) waitForExit(t *testing.T) {
	t.Helper()
	c.waitForEnd(t)
	checkLog(t, c.printed(t), "debug", "info", "warn")
}

func (c *collector) waitForEnd(t *testing.T) {
	t.Helper()
	select {
	case <-c.exited:
	case <-time.After(patience):
		require.FailNow(t, "the collector does not end")
	}
	require.NoError(t, c.status, "the collector's exit status")
}

// checkLog checks that all lines that the collector printed are log lines of the given
// levels: there is no panic, nor a data race.
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

// counts reads one of the collector's own metrics: its values by those of one label.
func (c *collector) counts(t *testing.T, metric, label string) map[string]int {
	t.Helper()
	sample := regexp.MustCompile(fmt.Sprintf(`(?m)^%s\{(?:.*,)?%s="([^"]*)".*\} (\S+)$`, metric, label))
	values := map[string]int{}
	for _, found := range sample.FindAllSubmatch(c.scrape(t), -1) {
		value, err := strconv.ParseFloat(string(found[2]), 64)
		require.NoError(t, err)
		values[string(found[1])] += int(value)
	}
	return values
}

// gauge reads one of the collector's own metrics that has no labels.
func (c *collector) gauge(t *testing.T, metric string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + metric + ` (\S+)$`).FindSubmatch(c.scrape(t))
	require.NotNil(t, found, metric)
	value, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(t, err)
	return int(value)
}

// scrape reads the collector's own metrics.
func (c *collector) scrape(t *testing.T) []byte {
	t.Helper()
	status, body, err := get("http://" + c.telemetry + "/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	return body
}
