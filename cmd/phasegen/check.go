// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/phaseattr/phaseattr/cmd/phasegen/internal/truth"
)

// checkOptions are the flags of phasegen check.
type checkOptions struct {
	truth    string
	got      []string
	maxWrong float64
	every    time.Duration
}

func parseCheck(args []string, diagnostics io.Writer) (*checkOptions, error) {
	o := &checkOptions{}
	flags := flag.NewFlagSet("phasegen check", flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	flags.StringVar(&o.truth, "truth", "", "the `file` that phasegen run -truth wrote")
	flags.Func("got", "a `file` of OTLP JSON lines, as the file exporter writes them; may be repeated", func(name string) error {
		o.got = append(o.got, name)
		return nil
	})
	flags.Float64Var(&o.maxWrong, "max-wrong", 0, "fail if the `share` of data points with a wrong phase is larger, from 0 to 1")
	flags.DurationVar(&o.every, "every", 0, "also print the shares of each `period` of the job; 0 means only those of all data points")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *checkOptions) validate() error {
	var errs []error
	if o.every < 0 {
		errs = append(errs, fmt.Errorf("every must be 0 or more (got %v)", o.every))
	}
	if o.truth == "" {
		errs = append(errs, errors.New("truth must be set"))
	}
	if len(o.got) == 0 {
		errs = append(errs, errors.New("got must be set"))
	}
	if !(o.maxWrong >= 0 && o.maxWrong <= 1) {
		errs = append(errs, fmt.Errorf("max-wrong must be between 0 and 1 (got %v)", o.maxWrong))
	}
	return errors.Join(errs...)
}

// parse parses flags and refuses other arguments. The flag package prints its errors
// along with the flags.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

func (o *checkOptions) run(out io.Writer) error {
	file, err := os.Open(o.truth) //nolint:gosec // the user chooses the file
	if err != nil {
		return err
	}
	defer file.Close()
	index, err := truth.Read(file)
	if err != nil {
		return fmt.Errorf("%s: %w", o.truth, err)
	}
	report, history := truth.Report{}, truth.History{Every: o.every}
	for _, name := range o.got {
		if err := checkFile(index, name, func(at int64, c truth.Count) {
			report.Add(at, c)
			history.Add(at, c)
		}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if report.Total() == 0 {
		return fmt.Errorf("no data points in %v", o.got)
	}
	if err := history.Write(out); err != nil {
		return err
	}
	if err := report.Write(out); err != nil {
		return err
	}
	if wrong := report.Share(truth.Wrong); wrong > o.maxWrong {
		return fmt.Errorf("%.4f of the data points have a wrong phase, more than max-wrong (%v)", wrong, o.maxWrong)
	}
	return nil
}

func checkFile(index *truth.Index, name string, add func(at int64, c truth.Count)) error {
	file, err := os.Open(name) //nolint:gosec // the user chooses the file
	if err != nil {
		return err
	}
	defer file.Close()
	return index.Check(file, add)
}
