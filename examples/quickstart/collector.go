// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long the collector may take to stop before it is killed.
const stopTimeout = 10 * time.Second

// collector is a running collector process.
type collector struct {
	cmd     *exec.Cmd
	logPath string
	// exited is closed when the process has exited.
	exited chan struct{}
}

// startCollector starts the collector. It is asked to stop when ctx is done.
func startCollector(ctx context.Context, o *options) (*collector, error) {
	program, err := filepath.Abs(o.collector) // a bare name is a file in this directory, not one in PATH
	if err != nil {
		return nil, err
	}
	log, err := os.Create(o.collectorLog())
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own handle

	cmd := exec.CommandContext(ctx, program, "--config", o.config) //nolint:gosec // the user chooses both
	cmd.Env = append(os.Environ(),
		"QUICKSTART_LOGS="+o.logs,
		"QUICKSTART_METRICS="+o.metrics,
		"QUICKSTART_OUT="+o.out,
		fmt.Sprintf("QUICKSTART_PORT=%d", o.port),
		fmt.Sprintf("QUICKSTART_TELEMETRY_PORT=%d", o.telemetryPort),
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the collector: %w", err)
	}
	c := &collector{cmd: cmd, logPath: o.collectorLog(), exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		_ = cmd.Wait() // the process state has the details
	}()
	return c, nil
}

// await calls pending until it returns an empty string. pending describes what is missing.
func (c *collector) await(ctx context.Context, pending func() (string, error)) error {
	deadline := time.After(readTimeout)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		missing, err := pending()
		if missing == "" || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.exited:
			return c.failure()
		case <-deadline:
			return fmt.Errorf("after %s, %s; the collector's log is %s", readTimeout, missing, c.logPath)
		case <-ticker.C:
		}
	}
}

// wait returns when ctx is done, or with an error if the collector exits before.
func (c *collector) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.exited:
		return c.failure()
	}
}

// stop waits for the collector to exit after its context is done.
func (c *collector) stop() error {
	<-c.exited
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return fmt.Errorf("the collector did not stop within %s and was killed; its log is %s", stopTimeout, c.logPath)
	}
	return nil
}

// failure returns the reason why the collector exited, in one line.
func (c *collector) failure() error {
	log, err := os.ReadFile(c.logPath)
	if err != nil {
		return err
	}
	if reason := lastError(string(log)); reason != "" {
		return fmt.Errorf("the collector exited: %s", reason)
	}
	return fmt.Errorf("the collector exited (%s); its log is %s", c.cmd.ProcessState, c.logPath)
}

// lastError returns the error at the end of a collector's log, in one line. A configuration
// error spans several lines, some of which only introduce the next.
func lastError(log string) string {
	const start = "Error: "
	at := strings.LastIndex("\n"+log, "\n"+start)
	if at < 0 {
		return ""
	}
	var b strings.Builder
	separator := ""
	for line := range strings.Lines(log[at+len(start):]) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		b.WriteString(separator)
		text, introduces := strings.CutSuffix(line, ": decoding failed due to the following error(s):")
		b.WriteString(text)
		separator = "; "
		if introduces {
			separator = ": "
		}
	}
	return b.String()
}
