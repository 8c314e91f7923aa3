// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package phaseattrprocessor tells what a training run was doing when a data point
// was measured, a log record written or a span recorded. It reads the boundary
// records that a program writes when it enters or leaves a phase, keeps the recent
// ones per session and rank, and adds phase_resolution and phase_path to the
// telemetry that passes. The pipelines of one component ID share what is kept.
package phaseattrprocessor // import "github.com/phaseattr/phaseattr/processor/phaseattrprocessor"
