// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package training generates the telemetry of a synthetic training job: its phase
// boundaries, and the metrics, logs and spans of its ranks.
package training

import (
	"strings"
	"time"
)

// Every rank repeats the same step: 20 boundaries, one every 25 ms, so 40 per second, all
// within one phase that does not end.
const (
	// BoundariesPerSecond is the rate at which a rank emits boundaries.
	BoundariesPerSecond = int(time.Second / slot)

	slot     = 25 * time.Millisecond
	rootName = "train"
)

// stepBoundaries are the phases that a step enters; an empty name is an exit.
var stepBoundaries = []string{
	"step",
	"load_batch", "",
	"forward", "attention", "", "mlp", "", "loss", "", "",
	"backward", "gradients", "", "all_reduce", "", "",
	"optimizer_step", "",
	"",
}

// StepDuration is the duration of a step.
var StepDuration = slot * time.Duration(len(stepBoundaries))

// pathIn returns the path between boundary i of a step and the one after it.
func pathIn(i int) []string {
	path := []string{rootName}
	for _, name := range stepBoundaries[:i+1] {
		if name == "" {
			path = path[:len(path)-1]
		} else {
			path = append(path, name)
		}
	}
	return path
}

// labels are the paths of a step as they are written to phase_path.
var labels = func() []string {
	all := make([]string, len(stepBoundaries))
	for i := range all {
		all[i] = strings.Join(pathIn(i), " / ")
	}
	return all
}()

// Steps returns the number of whole steps in a duration.
func Steps(in time.Duration) int { return int(in / StepDuration) }
