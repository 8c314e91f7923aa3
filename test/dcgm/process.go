// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

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
	// patience is how long the rig waits for what must happen.
	patience = time.Minute
	// tick is how often it looks.
	tick = 50 * time.Millisecond
)

// run starts a program that an environment variable names, and ends it with the test.
// The program must end well when it is told to.
func run(t *testing.T, variable string, env []string, args ...string) {
	t.Helper()
	binary := os.Getenv(variable)
	require.NotEmpty(t, binary, "%s must hold the path of a program; make e2e-dcgm sets it", variable)
	printed, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)

	command := exec.Command(binary, args...) //nolint:gosec // whoever runs the test names it
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = printed, printed
	require.NoError(t, command.Start())
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		defer printed.Close()
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-exited:
			assert.NoError(t, err, "how %s ended", filepath.Base(binary))
		case <-time.After(patience):
			_ = command.Process.Kill()
			assert.Fail(t, "does not end", binary)
		}
		if t.Failed() {
			text, _ := os.ReadFile(printed.Name())
			t.Logf("%s printed:\n%s", filepath.Base(binary), text)
		}
	})
}

// get returns the body of a page, or nothing while the page cannot be had.
func get(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
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
