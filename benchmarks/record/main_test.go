// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRecordReplacesOneSection(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(page, []byte("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n"), 0o600))
	require.NoError(t, record(page, "x", []string{"echo", "new "}))
	after, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Regexp(t, "(?s)^a\n<!-- begin x -->\n```text\n.* cores of .*\n\nnew\n```\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n$", string(after))
}

func TestRecordKeepsThePageOnFailure(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "<!-- begin x -->\nold\n<!-- end x -->\n"
	require.NoError(t, os.WriteFile(page, []byte(text), 0o600))
	require.Error(t, record(page, "x", []string{"false"}))
	require.ErrorContains(t, record(page, "z", []string{"echo"}), `no section "z"`)
	after, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, text, string(after))
}
