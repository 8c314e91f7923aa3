// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Command phasegen is a training job on paper: it sends the telemetry of a job of any
// size, with the faults of a real one, and checks which phases a collector added to it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses.
const (
	statusOK = iota
	statusFailed
	statusUsage
)

// errUsage reports that the command line is wrong and that this has been printed.
var errUsage = errors.New("usage")

const usage = `Usage:
  phasegen run [flags]     generate the telemetry of a training job
  phasegen check [flags]   compare annotated telemetry with the truth about the job

phasegen run -h and phasegen check -h list the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status(err, os.Stderr))
}

func dispatch(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "run":
		o, err := parseRun(args[1:], diagnostics)
		if err != nil {
			return err
		}
		return o.run(ctx, diagnostics)
	case "check":
		o, err := parseCheck(args[1:], diagnostics)
		if err != nil {
			return err
		}
		return o.run(out)
	case "-h", "-help", "--help", "help":
		fmt.Fprint(out, usage)
		return nil
	}
	fmt.Fprint(diagnostics, usage)
	return errUsage
}

// status prints the error, if any, and returns the exit status.
func status(err error, diagnostics io.Writer) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return statusOK
	case errors.Is(err, errUsage):
		return statusUsage
	}
	fmt.Fprintln(diagnostics, "phasegen:", err)
	return statusFailed
}
