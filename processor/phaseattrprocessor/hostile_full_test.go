// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package phaseattrprocessor

import (
	"testing"
	"time"
)

// TestAHostileTenantAtFullSize has a tenant fill the limits by default.
func TestAHostileTenantAtFullSize(t *testing.T) {
	attackATenant(t, manyHostile, time.Second, func(*Config) {})
}
