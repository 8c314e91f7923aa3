// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// A malformed text would go onto other programs' telemetry: the series of one vanish from the
// Prometheus exporter, and the file exporter writes invalid JSON.
func TestMalformedTextsDoNotGoOntoTelemetry(t *testing.T) {
	p := startPipelines(t, everyAttribute, func(cfg *Config) { cfg.ScopeAttributes = []string{"epoch", "split"} })
	run := &program{session: "run"}
	w := run.worker(1)
	p.passLogs(t, records(t,
		w.enterWith(1, "train", object{"epoch": "a\xff", "split": "a\x00b"}),
		w.enter(2, "step \xc3\x28"), w.exit(2.8), w.enter(3, "step\x00"), w.exit(3.8),
		w.enterWith(4, "a \"quoted\"\nname", object{"epoch": "line\nbreak"})))
	written := 0
	for at, want := range map[float64]string{1.5: "train", 2.5: "train", 3.5: "train", 4: "train / a \"quoted\"\nname"} {
		out := p.answerTo(t, run, at, nil)
		assert.Equal(t, want, out["phase_path"], "%v", at)
		for key, value := range out {
			if text, ok := value.(string); ok {
				written++
				assert.True(t, utf8.ValidString(text) && !strings.Contains(text, "\x00"), "%s=%q", key, text)
			}
		}
	}
	t.Logf("malformed texts: 0 of %d written", written)
	assert.Equal(t, "line\nbreak", p.answerTo(t, run, 4, nil)["epoch"])
}
