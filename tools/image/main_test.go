// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestArchive writes an archive of two architectures and reads it back.
func TestArchive(t *testing.T) {
	directory, out := t.TempDir(), filepath.Join(t.TempDir(), "image.tar")
	for _, architecture := range []string{"amd64", "arm64"} {
		folder := filepath.Join(directory, "linux_"+architecture)
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "collector"), []byte(architecture), 0o600))
	}
	var list bytes.Buffer
	require.NoError(t, writeArchive(out, "1.2.3", directory, &list))
	assert.Contains(t, list.String(), "linux/arm64\n  user 65532:65532, entrypoint [/otelcol]\n")
	assert.Contains(t, list.String(), "-rwxr-xr-x     0         5 /otelcol\n")
	assert.Contains(t, list.String(), "drwx------ 65532         0 /var/lib/otelcol\n")
	assert.Contains(t, list.String(), "/etc/ssl/certs/ca-certificates.crt\n")

	index, err := readArchive(out)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 2)
	for i, architecture := range []string{"amd64", "arm64"} {
		assert.Equal(t, "linux/"+architecture, manifest.Manifests[i].Platform.String())
		image, err := index.Image(manifest.Manifests[i].Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, architecture, config.Architecture)
		assert.Equal(t, "65532:65532", config.Config.User)
		assert.Equal(t, "1.2.3", config.Config.Labels["org.opencontainers.image.version"])
		assert.Equal(t, "collector", config.Config.Labels["org.opencontainers.image.title"])
		layers, err := image.Layers()
		require.NoError(t, err)
		assert.Len(t, layers, 1)
	}
}

func TestNothingToPack(t *testing.T) {
	require.ErrorContains(t, writeArchive(filepath.Join(t.TempDir(), "image.tar"), "1", t.TempDir(), &bytes.Buffer{}), "no linux_ARCHITECTURE/NAME in ")
	_, err := readArchive(filepath.Join(t.TempDir(), "missing.tar"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
