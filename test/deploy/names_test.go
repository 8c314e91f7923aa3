// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// formerName matches the names that components had before v0.158, which log a warning now,
// where they are used: as a key, in a list or in code style.
var formerName = regexp.MustCompile("(?m)(?:^ *|[\\[`]|, )(cumulativetodelta|deltatocumulative|filelog|k8sattributes|loadbalancing|otlphttp|" +
	"prometheusremotewrite|signaltometrics|spanmetrics)(?:[:/,`]|\\](?:[^(]|$)|$)")

// TestComponentsHaveTheirCurrentNames reads whatever users copy configurations from.
func TestComponentsHaveTheirCurrentNames(t *testing.T) {
	read := 0
	for _, place := range []string{"README.md", "connector", "deploy", "docs", "examples", "processor", "recorder", "test"} {
		err := filepath.WalkDir(root(place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !slices.Contains([]string{".md", ".yaml"}, filepath.Ext(path)) {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, found := range formerName.FindAllSubmatch(content, -1) {
				assert.Fail(t, "a former name", "%s in %s", found[1], path)
			}
			read++
			return nil
		})
		require.NoError(t, err)
	}
	assert.Greater(t, read, 50)
}
