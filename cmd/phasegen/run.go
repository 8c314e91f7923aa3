// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phaseattr/phaseattr/cmd/phasegen/format"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/fault"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/transport"
	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/truth"
	"github.com/phaseattr/phaseattr/cmd/phasegen/job"
)

// trainer is a way of reporting phases.
type trainer struct {
	plan func() job.Plan
	new  func(*job.Job) format.Format
}

// trainers are the values of the flag format.
func trainers() map[string]trainer {
	return map[string]trainer{
		"stormlog":   {format.Training, func(j *job.Job) format.Format { return format.Stormlog{Job: j} }},
		"megatron":   {format.MegatronPlan, format.Megatron},
		"torchtitan": {format.TorchTitanPlan, func(j *job.Job) format.Format { return format.TorchTitan{Job: j} }},
		"nemo_rl":    {format.NeMoRLPlan, format.NeMoRL},
		"otel":       {format.Training, format.OTel},
	}
}

// exporters are the values of the flag metrics.
func exporters() map[string]format.Format {
	return map[string]format.Format{
		"dcgm":    format.DCGM{},
		"hw.gpu":  format.HardwareGPU{},
		"process": format.Process{},
		"none":    nil,
	}
}

// runOptions are the flags of phasegen run.
type runOptions struct {
	job      job.Config
	faults   fault.Config
	format   string
	metrics  string
	to       []string
	truth    string
	interval time.Duration
	speed    float64
	// dcgmListen is the address at which to serve the metrics. If empty, they are sent.
	dcgmListen string
}

func parseRun(args []string, diagnostics io.Writer) (*runOptions, error) {
	o := &runOptions{}
	flags := flag.NewFlagSet("phasegen run", flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	o.jobFlags(flags)
	o.faultFlags(flags)
	flags.StringVar(&o.format, "format", "stormlog", "how the ranks report their phases: "+names(trainers()))
	flags.StringVar(&o.metrics, "metrics", "dcgm", "the metrics of the GPUs or the processes: "+names(exporters()))
	flags.Func("to", "the `destination`: "+transport.Schemes+"; default: grpc://localhost:4317; may be repeated, the nodes are divided among them",
		func(to string) error {
			o.to = append(o.to, to)
			return nil
		})
	flags.StringVar(&o.truth, "truth", "", "write the phase of each process to this `file`, as JSON lines, for phasegen check")
	flags.DurationVar(&o.interval, "batch", time.Second, "the time that each request of a node covers")
	flags.StringVar(&o.dcgmListen, "dcgm-listen", "", "serve the metrics dcgm at http://`ADDRESS`/metrics, as dcgm-exporter does, instead of sending them")
	flags.Float64Var(&o.speed, "speed", 1, "how much faster than real time the job is sent; 0 means as fast as possible")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	if len(o.to) == 0 {
		o.to = []string{"grpc://localhost:4317"}
	}
	o.faults.Seed = o.job.Seed
	if err := o.validate(); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *runOptions) jobFlags(flags *flag.FlagSet) {
	c := &o.job
	flags.IntVar(&c.Ranks, "ranks", 0, "number of ranks; 0 means one for each GPU of the nodes")
	flags.IntVar(&c.Nodes, "nodes", 0, "number of nodes; 0 means as many as the ranks need")
	flags.IntVar(&c.GPUsPerNode, "gpus-per-node", 8, "number of GPUs of a node")
	flags.DurationVar(&c.Step, "step", 500*time.Millisecond, "duration of a training step")
	flags.DurationVar(&c.Duration, "duration", time.Minute, "duration of the job")
	flags.DurationVar(&c.Sample, "sample", time.Second, "interval at which a process reports that it is alive")
	flags.DurationVar(&c.Reading, "scrape", time.Second, "interval in which GPUs and processes are read once")
	flags.IntVar(&c.Forks, "forks", 0, "number of workers that each rank forks, which report phases of their own")
	flags.IntVar(&c.Restarts, "restarts", 0, "how often the whole job is killed and starts again")
	flags.IntVar(&c.Stragglers, "stragglers", 0, "number of slow ranks")
	flags.DurationVar(&c.ClockSkew, "clock-skew", 0, "how far the clock of a node is off, at most")
	flags.Uint64Var(&c.Seed, "seed", 1, "selects one of the jobs that fit the other flags; the same seed gives the same job")
	flags.Func("start", "the `time` at which the job starts, in RFC 3339; default: now, or so long ago that it ends now "+
		"if it is sent faster than it runs", func(text string) (err error) {
		c.Start, err = time.Parse(time.RFC3339, text)
		return err
	})
}

func (o *runOptions) faultFlags(flags *flag.FlagSet) {
	c := &o.faults
	flags.Float64Var(&c.Loss, "loss", 0, "`share` of boundaries that are lost, from 0 to 1")
	flags.Float64Var(&c.Late, "late", 0, "`share` of records that are sent late, from 0 to 1")
	flags.DurationVar(&c.LateBy, "late-by", 2*time.Second, "how late a record is sent, at most")
	flags.Float64Var(&c.Duplicate, "duplicate", 0, "`share` of records that are sent twice, from 0 to 1")
	flags.Float64Var(&c.Shuffle, "shuffle", 0, "`share` of records that change places within a request, from 0 to 1")
}

func names[V any](values map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(values)), ", ")
}

func (o *runOptions) validate() error {
	errs := []error{o.job.Validate(), o.faults.Validate()}
	if _, ok := trainers()[o.format]; !ok {
		errs = append(errs, fmt.Errorf("format must be one of %s (got %q)", names(trainers()), o.format))
	}
	if _, ok := exporters()[o.metrics]; !ok {
		errs = append(errs, fmt.Errorf("metrics must be one of %s (got %q)", names(exporters()), o.metrics))
	}
	if o.interval <= 0 {
		errs = append(errs, fmt.Errorf("batch must be positive (got %v)", o.interval))
	}
	if !(o.speed >= 0) {
		errs = append(errs, fmt.Errorf("speed must be 0 or more (got %v)", o.speed))
	}
	if o.dcgmListen != "" && (o.metrics != "dcgm" || o.speed != 1) {
		errs = append(errs, fmt.Errorf("dcgm-listen needs metrics dcgm and speed 1 (got %s and %v)", o.metrics, o.speed))
	}
	return errors.Join(errs...)
}

// run sends the job. An interrupted job ends early; its truth is complete.
func (o *runOptions) run(ctx context.Context, diagnostics io.Writer) (err error) {
	sinks := make([]transport.Sink, len(o.to))
	for i, to := range o.to {
		if sinks[i], err = transport.Open(to); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sinks[i].Close()) }()
	}
	truthFile, err := o.openTruth()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, truthFile.Close()) }()
	if o.job.Start.IsZero() {
		o.job.Start = o.begin(time.Now())
	}
	s := o.newSender(sinks, truthFile)
	if o.dcgmListen != "" {
		s.pages = format.NewPages(s.job)
		var stop func()
		if stop, err = serve(ctx, o.dcgmListen, s.pages); err != nil {
			return err
		}
		defer stop()
	}
	err = s.run(ctx)
	fmt.Fprintln(diagnostics, s.summary())
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // interrupted
	}
	return err
}

// begin returns when the job starts by default. Nothing must be dated after it is sent.
func (o *runOptions) begin(now time.Time) time.Time {
	if o.speed != 1 {
		return now.Add(-o.job.Duration)
	}
	return now
}

// openTruth returns the file for the truth, or something that ignores it.
func (o *runOptions) openTruth() (io.WriteCloser, error) {
	if o.truth == "" {
		return ignore{io.Discard}, nil
	}
	return os.OpenFile(o.truth, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // the user chooses the file
}

type ignore struct{ io.Writer }

func (ignore) Close() error { return nil }

func (o *runOptions) newSender(sinks []transport.Sink, truthFile io.Writer) *sender {
	reporter := trainers()[o.format]
	o.job.Plan = reporter.plan()
	j := job.New(o.job)
	s := &sender{
		job:      j,
		faults:   fault.New(o.faults),
		formats:  []format.Format{reporter.new(j)},
		sinks:    sinks,
		truth:    truth.NewWriter(truthFile, j),
		pace:     newPacer(o.job.Start, o.speed),
		interval: int64(o.interval),
	}
	if exporter := exporters()[o.metrics]; exporter != nil && o.dcgmListen == "" {
		s.formats = append(s.formats, exporter)
	}
	return s
}

// serve serves a handler at /metrics until the returned function is called.
func serve(ctx context.Context, address string, metrics http.Handler) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dcgm-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) }) // it ends with stop
	return func() {
		_ = server.Close() // clients do not matter
		wg.Wait()
	}, nil
}
