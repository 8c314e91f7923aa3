// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
)

func TestValuesAreJoinedSuchThatDifferentOnesAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		keys   []string
		values map[string]any
		want   string
	}{
		"two":                       {"", []string{"x", "y"}, map[string]any{"x": "pool", "y": 3}, "pool/3"},
		"a slash in the first":      {"", []string{"x", "y"}, map[string]any{"x": "a/b", "y": "c"}, "a%2Fb/c"},
		"a slash in the second":     {"", []string{"x", "y"}, map[string]any{"x": "a", "y": "b/c"}, "a/b%2Fc"},
		"what a slash becomes":      {"", []string{"x", "y"}, map[string]any{"x": "a%2Fb", "y": "c"}, "a%252Fb/c"},
		"the middle one is missing": {"", []string{"x", "y", "z"}, map[string]any{"x": "a", "z": "c"}, "a//c"},
		"the last one is missing":   {"", []string{"x", "y", "z"}, map[string]any{"x": "a", "y": "c"}, "a/c"},
		"only the last one":         {"", []string{"x", "y"}, map[string]any{"y": 17}, "17"},
		"one, as it is":             {"", []string{"x"}, map[string]any{"x": "pool/worker 3%"}, "pool/worker 3%"},
		"a session and a group":     {"/data/run", []string{"x"}, map[string]any{"x": "actor/1"}, "/data/run/actor%2F1"},
		"a session without a group": {"/data/run", []string{"x"}, nil, "/data/run"},
		"the second of two groups":  {"run", []string{"x", "y"}, map[string]any{"y": "b"}, "run//b"},
	} {
		set := &Set{keys: boundary.NewKeySet()}
		keys := set.keysOf(tc.keys...)
		attributes := pcommon.NewMap()
		require.NoError(t, attributes.FromRaw(tc.values))
		var fields boundary.Fields
		fields.ScanScope(set.keys, pcommon.NewMap(), attributes)
		assert.Equal(t, tc.want, joined(tc.text, keys, &fields), name)
	}
}
