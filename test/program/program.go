// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package program runs the programs that end-to-end tests consist of.
package program

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// waitTimeout is how long a test waits for an expected event.
	waitTimeout = time.Minute
	// pollInterval is how often it checks.
	pollInterval = 50 * time.Millisecond
)

// Run starts the program in an environment variable and stops it at the end of the test.
// The program must exit without an error on SIGTERM.
func Run(t *testing.T, variable string, env []string, args ...string) {
	t.Helper()
	binary := os.Getenv(variable)
	require.NotEmpty(t, binary, "%s must be the path of a program; the make target sets it", variable)
	printed, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)

	command := exec.Command(binary, args...) //nolint:gosec // the user chooses the program
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = printed, printed
	require.NoError(t, command.Start())
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		defer printed.Close()
		_ = command.Process.Signal(syscall.SIGTERM) // it may have exited
		select {
		case err := <-exited:
			assert.NoError(t, err, "exit of %s", filepath.Base(binary))
		case <-time.After(waitTimeout):
			_ = command.Process.Kill()
			assert.Fail(t, "does not exit", binary)
		}
		if t.Failed() {
			text, _ := os.ReadFile(printed.Name())
			t.Logf("output of %s:\n%s", filepath.Base(binary), text)
		}
	})
}

// Get returns the body of a page, or nil if it is not available.
func Get(t *testing.T, url string) []byte {
	t.Helper()
	return GetBy(t, http.DefaultClient, url)
}

// GetBy is Get by a client.
func GetBy(t *testing.T, client *http.Client, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return body
}

// Eventually waits for a condition.
func Eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, waitTimeout, pollInterval, what)
}
