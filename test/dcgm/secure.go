// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// named returns an address with the name on the certificates.
func named(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return net.JoinHostPort("localhost", port)
}

// secureClient returns a client that shows a certificate.
func secureClient(t *testing.T, certificates string) *http.Client {
	t.Helper()
	authority, err := os.ReadFile(filepath.Join(certificates, "ca.pem")) //nolint:gosec // a directory of the test
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(authority))
	pair, err := tls.LoadX509KeyPair(filepath.Join(certificates, "cert.pem"), filepath.Join(certificates, "key.pem"))
	require.NoError(t, err)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
	}}}
}

// secureServer returns Prometheus's web configuration, as README.md has it.
func secureServer(certificates string) string {
	return fmt.Sprintf(`
tls_server_config:
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: %[1]s/ca.pem
  cert_file: %[1]s/cert.pem
  key_file: %[1]s/key.pem
`, certificates)
}

// secureScrape returns what a job of Prometheus needs besides, as README.md has it.
func secureScrape(certificates string) string {
	return fmt.Sprintf(`    scheme: https
    tls_config:
      ca_file: %[1]s/ca.pem
      cert_file: %[1]s/cert.pem
      key_file: %[1]s/key.pem
`, certificates)
}
