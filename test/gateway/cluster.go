// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package gateway runs examples/gateway: agents, gateways that come and go, and Kafka
// between them, with a job on paper.
package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/phaseattr/phaseattr/test/loopback"
)

const (
	// waitTimeout is how long a test waits for an expected event.
	waitTimeout = time.Minute
	// pollInterval is how often it checks.
	pollInterval = 50 * time.Millisecond
)

// collector is an agent or a gateway. It can be stopped and started again; its addresses
// and its storage stay.
type collector struct {
	name, otlp, health, telemetry string
	args, env                     []string
	log                           string

	starts  int
	command *exec.Cmd
	exited  chan struct{}
}

// newCollector returns a collector of the example with files of the example and of testdata
// merged on top of each other.
func newCollector(t *testing.T, name, certificates string, env []string, files ...string) *collector {
	t.Helper()
	addresses, err := loopback.FreeAddresses(3)
	require.NoError(t, err)
	c := &collector{name: name, otlp: addresses[0], health: addresses[1], telemetry: addresses[2], log: filepath.Join(t.TempDir(), "log")}
	host, port, err := net.SplitHostPort(c.telemetry)
	require.NoError(t, err)
	c.env = append([]string{
		"OTLP_ADDRESS=" + c.otlp, "HEALTH_ADDRESS=" + c.health, "TELEMETRY_HOST=" + host, "TELEMETRY_PORT=" + port,
		"STORAGE=" + t.TempDir(), "TLS_DIR=" + certificates, "NODE_NAME=" + name, "INSTANCE=" + name,
	}, env...)
	for _, file := range files {
		c.args = append(c.args, "--config", file)
	}
	t.Cleanup(func() {
		if c.running() {
			c.stop(t)
		}
		if t.Failed() {
			printed, _ := os.ReadFile(c.log)
			t.Logf("output of %s:\n%s", c.name, printed[max(0, len(printed)-20_000):])
		}
	})
	return c
}

func (c *collector) start(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, os.Getenv("OTELCOL_GATEWAY"), "OTELCOL_GATEWAY must be the path of a program; make e2e-gateway sets it")
	printed, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer printed.Close() // the process has its own handle
	c.command = c.run()
	c.command.Stdout, c.command.Stderr = printed, printed
	require.NoError(t, c.command.Start())
	exited := make(chan struct{})
	c.exited = exited
	go func(command *exec.Cmd) {
		_ = command.Wait()
		close(exited)
	}(c.command)
	c.starts++
	c.awaitReady(t)
}

// run returns a command of the program with the configuration of the collector.
func (c *collector) run(command ...string) *exec.Cmd {
	run := exec.Command(os.Getenv("OTELCOL_GATEWAY"), append(command, c.args...)...) //nolint:gosec // the user chooses the program
	run.Env = append(os.Environ(), c.env...)
	return run
}

func (c *collector) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, c.name+" is ready", func() bool {
		printed, err := os.ReadFile(c.log)
		return err == nil && bytes.Count(printed, []byte("Everything is ready.")) >= c.starts && get("http://"+c.health) != nil
	})
}

// reload makes the collector read its configuration again.
func (c *collector) reload(t *testing.T) {
	t.Helper()
	require.NoError(t, c.command.Process.Signal(syscall.SIGHUP))
	c.starts++
	c.awaitReady(t)
}

func (c *collector) running() bool {
	if c.command == nil {
		return false
	}
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// stop stops the collector as an operator does. It must exit without an error.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.command.Process.Signal(syscall.SIGTERM))
	select {
	case <-c.exited:
		assert.True(t, c.command.ProcessState.Success(), "exit of %s: %v", c.name, c.command.ProcessState)
	case <-time.After(waitTimeout):
		_ = c.command.Process.Kill()
		<-c.exited
		assert.Fail(t, "does not exit", c.name)
	}
}

func (c *collector) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.command.Process.Kill())
	<-c.exited
}

// total returns the sum of the series of one of the collector's own metrics.
func (c *collector) total(metric string) (sum float64) {
	for line := range strings.SplitSeq(string(get("http://"+c.telemetry+"/metrics")), "\n") {
		if strings.HasPrefix(line, metric+"{") {
			var value float64
			_, _ = fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value)
			sum += value
		}
	}
	return sum
}

// awaitIdle waits until nothing waits in the collector.
func (c *collector) awaitIdle(t *testing.T) {
	t.Helper()
	eventually(t, c.name+" is idle", func() bool {
		return get("http://"+c.telemetry+"/metrics") != nil && c.total("otelcol_exporter_queue_size") == 0 &&
			c.total("otelcol_processor_phase_attr_waiting_bytes") == 0
	})
}

// example returns the path of a file of the example.
func example(name string) string { return filepath.Join("..", "..", "examples", "gateway", name) }

// testdata returns the path of a file of testdata.
func testdata(name string) string { return filepath.Join("testdata", name) }

// write writes a configuration and returns its path.
func write(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// get returns the body of a page, or nil if it is not available.
func get(url string) []byte {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url) //nolint:noctx // the client has a timeout
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err = body.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return body.Bytes()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !condition(); time.Sleep(pollInterval) {
		require.True(t, time.Now().Before(deadline), "timed out waiting: %s", what)
	}
}
