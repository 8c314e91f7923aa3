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

// stopWithin is how long the collector may take to stop before it is killed.
const stopWithin = 10 * time.Second

// collector is the running collector.
type collector struct {
	cmd     *exec.Cmd
	logPath string
	// ended is closed when the process has ended.
	ended chan struct{}
}

// startCollector starts the collector; when ctx is done, it is told to stop.
func startCollector(ctx context.Context, o *options) (*collector, error) {
	program, err := filepath.Abs(o.collector) // a bare name is a file here, not one in PATH
	if err != nil {
		return nil, err
	}
	log, err := os.Create(o.collectorLog())
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own

	cmd := exec.CommandContext(ctx, program, "--config", o.config) //nolint:gosec // the user names both
	cmd.Env = append(os.Environ(),
		"QUICKSTART_LOGS="+o.logs,
		"QUICKSTART_OUT="+o.out,
		fmt.Sprintf("QUICKSTART_PORT=%d", o.port),
		fmt.Sprintf("QUICKSTART_TELEMETRY_PORT=%d", o.telemetryPort),
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the collector: %w", err)
	}
	c := &collector{cmd: cmd, logPath: o.collectorLog(), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		_ = cmd.Wait() // the process state tells more
	}()
	return c, nil
}

// await polls until pending says that nothing is missing.
func (c *collector) await(ctx context.Context, pending func() (string, error)) error {
	deadline := time.After(answerWithin)
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
		case <-c.ended:
			return c.failure()
		case <-deadline:
			return fmt.Errorf("after %s, %s; the collector's log is %s", answerWithin, missing, c.logPath)
		case <-ticker.C:
		}
	}
}

// wait returns when ctx is done, or with an error when the collector ends by itself.
func (c *collector) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.ended:
		return c.failure()
	}
}

// stop waits for the collector, which has been told to stop.
func (c *collector) stop() error {
	<-c.ended
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return fmt.Errorf("the collector did not stop within %s and was killed; its log is %s", stopWithin, c.logPath)
	}
	return nil
}

// failure is why the collector ended by itself, in one line.
func (c *collector) failure() error {
	log, err := os.ReadFile(c.logPath)
	if err != nil {
		return err
	}
	if reason := lastError(string(log)); reason != "" {
		return fmt.Errorf("the collector ended: %s", reason)
	}
	return fmt.Errorf("the collector ended (%s); its log is %s", c.cmd.ProcessState, c.logPath)
}

// lastError is the error that a collector's log ends with, in one line. A configuration
// error comes in several, of which some only announce the next.
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
		announced, announces := strings.CutSuffix(line, ": decoding failed due to the following error(s):")
		b.WriteString(announced)
		separator = "; "
		if announces {
			separator = ": "
		}
	}
	return b.String()
}
