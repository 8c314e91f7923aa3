// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLastErrorReturnsOneLine(t *testing.T) {
	for name, tc := range map[string]struct{ log, want string }{
		"no error": {
			log: "2026-01-02T03:04:05.678Z\tinfo\tEverything is ready.\n",
		},
		"empty log": {},
		"unknown option": {
			log: "Error: failed to get config: cannot unmarshal the configuration: decoding failed due to the following error(s):\n\n" +
				"'processors' error reading configuration for \"phase_attr\": decoding failed due to the following error(s):\n\n" +
				"'cumulative' must be one of skip, annotate (got \"maybe\")\n" +
				"'Config' has invalid keys: windwo\n",
			want: "failed to get config: cannot unmarshal the configuration: " +
				"'processors' error reading configuration for \"phase_attr\": " +
				"'cumulative' must be one of skip, annotate (got \"maybe\"); 'Config' has invalid keys: windwo",
		},
		"two invalid values": {
			log:  "Error: invalid configuration: a must be positive (got 0)\nb must be positive (got 0)\n",
			want: "invalid configuration: a must be positive (got 0); b must be positive (got 0)",
		},
		"component that does not start": {
			log: "2026-01-02T03:04:05.678Z\terror\tFailed to start component\t{\"error\": \"Error: no\"}\n" +
				"some.Func\n\tsome/file.go:1\n" +
				"Error: cannot start pipelines: listen tcp 127.0.0.1:1: bind: address already in use\n",
			want: "cannot start pipelines: listen tcp 127.0.0.1:1: bind: address already in use",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, lastError(tc.log))
		})
	}
}
