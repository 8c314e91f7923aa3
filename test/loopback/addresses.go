// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package loopback finds room on the loopback interface for what a test starts.
package loopback

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// FreeAddresses finds n addresses, each a host and a port, that nothing listens on.
func FreeAddresses(t *testing.T, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close() // once all are found, so that no two are the same
		addresses[i] = listener.Addr().String()
	}
	return addresses
}
