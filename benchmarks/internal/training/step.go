// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package training makes the telemetry of a training job that exists on paper only:
// its phase boundaries, and the metrics, logs and spans of its ranks.
package training

import (
	"strings"
	"time"
)

// Every rank runs the same step over and over: 20 boundaries, one every 25 ms, so 40
// in a second. All of it lies in one phase that does not end.
const (
	// BoundariesPerSecond is how many boundaries a rank emits in a second.
	BoundariesPerSecond = int(time.Second / slot)

	slot     = 25 * time.Millisecond
	rootName = "train"
)

// stepBoundaries names the phases that a step enters; an empty name is an exit.
var stepBoundaries = []string{
	"step",
	"load_batch", "",
	"forward", "attention", "", "mlp", "", "loss", "", "",
	"backward", "gradients", "", "all_reduce", "", "",
	"optimizer_step", "",
	"",
}

// StepDuration is how long a step takes.
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

// labels are the paths of a step, as an answer names them.
var labels = func() []string {
	all := make([]string, len(stepBoundaries))
	for i := range all {
		all[i] = strings.Join(pathIn(i), " / ")
	}
	return all
}()

// Steps is how many whole steps a rank makes in a time.
func Steps(in time.Duration) int { return int(in / StepDuration) }
