// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback finds free addresses on the loopback interface for the servers that
// tests and benchmarks start.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The range of ports to try. It ends below the ephemeral ports, which start at 32768 or
// 49152: a free ephemeral port may be assigned to a client before the server listens on
// it. A client that dials a stopped server may even be assigned the port that it dials.
const (
	firstPort = 20_000
	endPort   = 32_768
)

// attempts is the number of ports to try for an address.
const attempts = 100

// FreeAddresses returns n different addresses, each a host and a port, that are free.
func FreeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := listen()
		if err != nil {
			return nil, err
		}
		defer listener.Close() // after all are found, so that they differ
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}

func listen() (listener net.Listener, err error) {
	for range attempts {
		port := firstPort + rand.IntN(endPort-firstPort)
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return listener, nil
		}
	}
	return nil, err
}
