// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package phasespansconnector turns phases into spans. It reads the boundary records that
// have passed the phase_attr processor: a record that ends a phase, and that says since
// when the phase lasted, becomes a span whose ID and parent follow from the scope IDs.
package phasespansconnector // import "github.com/phaseattr/phaseattr/connector/phasespansconnector"
