// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Command quickstart runs the built collector on a recorded training run, prints the
// phases of the run and the memory used in each, and keeps the collector running until
// it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// readTimeout is how long the collector may take to process each of the files.
const readTimeout = 30 * time.Second

type options struct {
	collector     string
	config        string
	logs          string
	metrics       string
	out           string
	port          int
	telemetryPort int
}

// The files of a run, in the directory options.out.
func (o *options) enrichedLogs() string    { return filepath.Join(o.out, "logs.jsonl") }
func (o *options) enrichedMetrics() string { return filepath.Join(o.out, "metrics.jsonl") }
func (o *options) collectorLog() string    { return filepath.Join(o.out, "collector.log") }

func main() {
	var o options
	flag.StringVar(&o.collector, "collector", "bin/otelcol-phaseattr", "the built collector")
	flag.StringVar(&o.config, "config", "examples/quickstart/collector.yaml", "its configuration")
	flag.StringVar(&o.logs, "logs", "testdata/captures/single.jsonl", "the events of the run, as JSON lines")
	flag.StringVar(&o.metrics, "metrics", "testdata/captures/single.metrics.jsonl", "the metrics of the run, as OTLP JSON lines")
	flag.StringVar(&o.out, "out", "bin/quickstart", "the directory for the results")
	flag.IntVar(&o.port, "port", 8889, "the port of the Prometheus exporter")
	flag.IntVar(&o.telemetryPort, "telemetry-port", 8888, "the port of the collector's own metrics")
	flag.Parse()
	os.Exit(status(run(&o)))
}

// status prints the error, if any, and returns the exit status.
func status(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "quickstart:", err)
	return 1
}

func run(o *options) error {
	// A closed terminal or pipe stops the collector too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go cancelWithParent(ctx, cancel)

	want, err := prepare(o)
	if err != nil {
		return err
	}
	syscall.Umask(privateFiles) // the collector inherits it
	c, err := startCollector(ctx, o)
	if err != nil {
		return err
	}
	err = show(ctx, os.Stdout, o, c, want)
	if err == nil {
		err = c.wait(ctx)
	}
	interrupted := ctx.Err() != nil
	cancel()
	stopped := c.stop()
	if !interrupted {
		return err
	}
	if stopped == nil { // an error of the interrupted wait does not matter
		fmt.Println("\nThe collector has stopped.")
	}
	return stopped
}

// cancelWithParent calls cancel once the parent process is gone: when `go run` is
// terminated, it does not forward the signal.
func cancelWithParent(ctx context.Context, cancel context.CancelFunc) {
	parent := os.Getppid()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for os.Getppid() == parent {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	cancel()
}

// privateFiles is the umask with which only the user can read the files of a run.
const privateFiles = 0o077

// amounts are the sizes of a complete run.
type amounts struct {
	records int
	points  int
}

// prepare checks the files and ports that the collector needs and removes the results of
// the previous run.
func prepare(o *options) (amounts, error) {
	var want amounts
	if _, err := os.Stat(o.collector); err != nil {
		return want, fmt.Errorf("no collector: %w (run make build)", err)
	}
	if _, err := os.Stat(o.config); err != nil {
		return want, fmt.Errorf("no configuration: %w (run this from the root of the repository)", err)
	}
	var err error
	if want.records, err = countRecords(o.logs); err != nil {
		return want, fmt.Errorf("no events: %w", err)
	}
	if want.points, err = countPoints(o.metrics); err != nil {
		return want, fmt.Errorf("no metrics: %w", err)
	}
	if err := checkPorts(o); err != nil {
		return want, err
	}
	for _, old := range []string{o.enrichedLogs(), o.enrichedMetrics(), o.collectorLog()} {
		if err := os.RemoveAll(old); err != nil {
			return want, err
		}
	}
	return want, os.MkdirAll(o.out, 0o750)
}

func checkPorts(o *options) error {
	for _, use := range []struct {
		flag, user string
		port       int
	}{
		{"port", "the Prometheus exporter", o.port},
		{"telemetry-port", "the collector's own metrics", o.telemetryPort},
	} {
		listener, err := net.Listen("tcp", net.JoinHostPort("localhost", strconv.Itoa(use.port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d, for %s, is in use: free it or choose another one with "+
				"go run ./examples/quickstart -%s N", use.port, use.user, use.flag)
		}
		if err != nil {
			return fmt.Errorf("port %d, for %s: %w", use.port, use.user, err)
		}
		defer listener.Close() // keep each port until both are known to be free
	}
	return nil
}

// show waits for the enriched telemetry and prints a summary of it.
func show(ctx context.Context, w io.Writer, o *options, c *collector, want amounts) error {
	fmt.Fprintf(w, "Reading %s and %s\n", o.logs, o.metrics)
	var s summary
	logs := tail{path: o.enrichedLogs()}
	if err := c.await(ctx, func() (string, error) {
		err := logs.each(func(line []byte) error {
			ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
			if err == nil {
				s.addLogs(ld)
			}
			return err
		})
		return missing(s.records, want.records, "log records"), err
	}); err != nil {
		return err
	}

	metrics := tail{path: o.enrichedMetrics()}
	if err := c.await(ctx, func() (string, error) {
		err := metrics.each(func(line []byte) error {
			md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
			if err == nil {
				s.addMetrics(md)
			}
			return err
		})
		return missing(s.points, want.points, "data points"), err
	}); err != nil {
		return err
	}

	fmt.Fprintf(w, "%d log records and %d data points passed through the collector.\n\n", s.records, s.points)
	s.render(w)
	fmt.Fprintf(w, `
scopes: how often the phase was entered. records: log records in the phase.
points: samples of %s in the phase, with their min, mean and max in MiB.

Prometheus endpoint  http://localhost:%d/metrics
collector's metrics  http://localhost:%d/metrics
enriched logs        %s
enriched metrics     %s
collector's log      %s

Running until Ctrl-C.
`, memoryMetric, o.port, o.telemetryPort, o.enrichedLogs(), o.enrichedMetrics(), o.collectorLog())
	return nil
}

// missing describes what is missing. It returns an empty string if nothing is.
func missing(got, want int, what string) string {
	if got >= want {
		return ""
	}
	return fmt.Sprintf("%d of %d %s have been written", got, want, what)
}
