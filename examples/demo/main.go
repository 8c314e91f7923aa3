// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo runs a training job on paper, a collector with phase_attr and a
// Prometheus, and shows what the GPUs did in each phase. `make demo` builds and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// stopTimeout is how long a process may take to stop before it is killed.
	stopTimeout = 15 * time.Second
	// readyTimeout is how long Prometheus may take to start, and data to arrive.
	readyTimeout = time.Minute
	pollInterval = 500 * time.Millisecond
)

type options struct {
	bin        string
	out        string
	prometheus string
	otlp       string
	nodes      int
	duration   time.Duration
	// after is how long after the start the table is printed.
	after time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of phasegen, otelcol-phaseattr and prometheus")
	flag.StringVar(&o.out, "out", "bin/demo", "the directory for logs and data")
	flag.StringVar(&o.prometheus, "prometheus", "localhost:9090", "the address of Prometheus")
	flag.StringVar(&o.otlp, "otlp", "localhost:4317", "the address of the collector")
	flag.IntVar(&o.nodes, "nodes", 2, "the number of nodes of the job, with 8 GPUs each")
	flag.DurationVar(&o.duration, "duration", 24*time.Hour, "the duration of the job")
	flag.DurationVar(&o.after, "after", 30*time.Second, "when to print the utilization by phase")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, &o)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err != nil && !interrupted:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	case err != nil && !errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: stopped:", err)
	default:
		fmt.Println("\nAll processes have ended.")
	}
}

// run runs the processes until the job or one of them ends or ctx is done, and waits for
// all of them.
func run(ctx context.Context, o *options) error {
	// Only the user can read the files of the processes, which inherit the mask.
	defer syscall.Umask(syscall.Umask(0o077))
	data := filepath.Join(o.out, "data")
	if err := errors.Join(os.RemoveAll(data), os.MkdirAll(data, 0o700)); err != nil {
		return err
	}
	processes, ctx := errgroup.WithContext(ctx)
	processes.Go(func() error {
		return o.start(ctx, "prometheus", "--config.file", "examples/demo/prometheus.yml",
			"--storage.tsdb.path", data, "--web.listen-address", o.prometheus,
			"--web.enable-otlp-receiver", "--log.level", "warn")
	})
	processes.Go(func() error { return o.start(ctx, "otelcol-phaseattr", "--config", "examples/demo/collector.yaml") })
	processes.Go(func() error {
		return o.start(ctx, "phasegen", "run", "-nodes", strconv.Itoa(o.nodes), "-stragglers", "1", "-scrape", "200ms",
			"-duration", o.duration.String(), "-to", "grpc://"+o.otlp)
	})
	processes.Go(func() error { return o.show(ctx) })
	err := processes.Wait()
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// errEnded is the result of a process that ended by itself without an error.
var errEnded = errors.New("ended")

// start runs a process until it ends or ctx is done.
func (o *options) start(ctx context.Context, name string, args ...string) error {
	program, err := filepath.Abs(filepath.Join(o.bin, name)) // not one in PATH
	if err != nil {
		return err
	}
	logName := filepath.Join(o.out, name+".log")
	log, err := os.Create(logName) //nolint:gosec // the user chooses the directory
	if err != nil {
		return err
	}
	defer log.Close()                                     // the process has its own handle
	command := exec.CommandContext(ctx, program, args...) //nolint:gosec // the user chooses the directory
	command.Env = append(os.Environ(), "DEMO_OTLP="+o.otlp, "DEMO_PROMETHEUS="+o.prometheus)
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	err = command.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%s: %w; its log is %s", name, err, logName)
	}
	return fmt.Errorf("%s: %w", name, errEnded)
}

// show says where to look, and prints the utilization by phase once there is some.
func (o *options) show(ctx context.Context) error {
	if err := o.await(ctx, func() bool { return o.get(ctx, "/-/ready", nil) == nil }); err != nil {
		return fmt.Errorf("Prometheus is not ready: %w", err) //nolint:staticcheck // a name
	}
	if err := o.describe(os.Stdout); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(o.after):
	}
	var rows []row
	if err := o.await(ctx, func() (ok bool) {
		rows, ok = o.phases(ctx)
		return ok
	}); err != nil {
		return fmt.Errorf("no utilization by phase in Prometheus: %w", err)
	}
	return printRows(os.Stdout, rows)
}

// await calls ready until it returns true.
func (o *options) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// get calls read with the content of a page of Prometheus.
func (o *options) get(ctx context.Context, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.prometheus+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if read == nil {
		return nil
	}
	return read(response.Body)
}
