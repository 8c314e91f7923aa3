// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/phaseattr/phaseattr/test/loopback"
)

// startTimeout bounds the start of a collector.
const startTimeout = 30 * time.Second

// collector is a running collector.
type collector struct {
	command *exec.Cmd
	printed bytes.Buffer
	conn    *grpc.ClientConn
}

// startCollector starts a collector from OTLP to OTLP with one processor or none.
func startCollector(ctx context.Context, binary, processors, use, sink string) (*collector, error) {
	addresses, err := loopback.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	address := addresses[0]
	_, port, _ := net.SplitHostPort(addresses[1])
	config := fmt.Sprintf(`yaml:{
receivers: {otlp: {protocols: {grpc: {endpoint: %q, max_recv_msg_size_mib: 64}}}},
processors: %s,
exporters: {otlp_grpc: {endpoint: %q, compression: none, tls: {insecure: true}, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}},
service: {
  telemetry: {logs: {level: warn}, metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]}},
  pipelines: {
    logs: {receivers: [otlp], processors: [%s], exporters: [otlp_grpc]},
    metrics: {receivers: [otlp], processors: [%s], exporters: [otlp_grpc]}}}}`, address, processors, sink, port, use, use)
	c := &collector{command: exec.Command(binary, "--config", config)} //nolint:gosec // the caller names the collector
	c.command.Stdout, c.command.Stderr = &c.printed, &c.printed
	if err = c.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	c.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.conn.Invoke(ctx, exportLogs, &[]byte{}, new([]byte), grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the collector: %w", err), c.stop())
	}
	return c, nil
}

// stop stops the collector. An error includes its output.
func (c *collector) stop() error {
	err := errors.Join(c.conn.Close(), c.command.Process.Signal(os.Interrupt))
	if err = errors.Join(err, c.command.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, c.printed.String())
	}
	return nil
}

// under measures the collector while send sends records, and returns their number.
func (c *collector) under(send func() (int, error)) (load, error) {
	begin := time.Now()
	before, err := c.processorTime()
	if err != nil {
		return load{}, err
	}
	records, err := send()
	if err != nil {
		return load{}, err
	}
	after, err := c.processorTime()
	return load{processor: after - before, elapsed: time.Since(begin), records: records}, err
}

// processorTime returns the processor time of the collector.
func (c *collector) processorTime() (time.Duration, error) {
	const userTime, systemTime = 11, 12 // counted from the field after the name
	const ticksPerSecond = 100          // on all Linux systems
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, i := range []int{userTime, systemTime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// resident returns the resident memory of the collector in bytes.
func (c *collector) resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * syscall.Getpagesize(), err
}
