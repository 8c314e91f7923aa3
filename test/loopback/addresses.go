// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback finds room on the loopback interface for what a test or a benchmark
// starts.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports that are tried. Systems take those of outgoing connections from 32768 or
// 49152 on: there, a port that is free now may belong to some client by the time that a
// server wants it. A client that dials a server which is gone may even be given the port
// that it dials.
const (
	firstPort = 20_000
	endPort   = 32_768
)

// attempts is how many ports are tried for an address.
const attempts = 100

// FreeAddresses finds n addresses, each a host and a port, that nothing listens on.
func FreeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := listen()
		if err != nil {
			return nil, err
		}
		defer listener.Close() // once all are found, so that no two are the same
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
