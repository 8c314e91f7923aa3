// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package jaeger

import (
	"cmp"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// checkPicture draws the same training step of two ranks from Jaeger's answer and compares
// the drawing with the picture in the example. With UPDATE=1, it replaces the picture.
func (r *rig) checkPicture(t *testing.T) {
	steps := map[pcommon.TraceID]ptrace.Span{}
	all := map[pcommon.TraceID][]ptrace.Span{}
	eachSpan(r.spans(t, "training"), func(_ pcommon.Resource, span ptrace.Span) {
		all[span.TraceID()] = append(all[span.TraceID()], span)
		if attributes := span.Attributes().AsRaw(); span.Name() == "step" && attributes["epoch"] == int64(0) && attributes["step"] == int64(3) {
			steps[span.TraceID()] = span
		}
	})
	var traces [][]ptrace.Span
	for _, session := range []string{sessionOf(t, "rank0"), sessionOf(t, "rank1")} {
		for id, step := range steps {
			if text(step, "session_id") == session {
				traces = append(traces, all[id])
			}
		}
	}
	require.Len(t, traces, 2)
	got := draw(traces)
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(example("trace.svg"), []byte(got), 0o600))
	}
	want, err := os.ReadFile(example("trace.svg"))
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "draw it again with UPDATE=1 make e2e-jaeger")
}

func sessionOf(t *testing.T, run string) string {
	t.Helper()
	for _, s := range scopes(t, run) {
		return s.session
	}
	return ""
}

// The measures of the picture.
const (
	width, nameWidth, rowHeight = 900, 330, 26
	titleHeight, margin         = 44, 12
)

// colors has a color for each name of a phase.
func colors() map[string]string {
	return map[string]string{
		"step": "#5b8db8", "load_batch": "#c9a227", "forward": "#4f9d69", "backward": "#8e6bbf", "all_reduce": "#d1605e", "optimizer_step": "#5fa8a8",
	}
}

// draw draws traces below each other on one scale of time.
func draw(traces [][]ptrace.Span) string {
	var longest pcommon.Timestamp
	height := margin
	for _, spans := range traces {
		root := rootOf(spans)
		longest = max(longest, root.EndTimestamp()-root.StartTimestamp())
		height += titleHeight + rowHeight*len(spans) + margin
	}
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">
<rect width="%d" height="%d" fill="#ffffff"/>
`, width, height, width, height, width, height)
	y := margin
	for _, spans := range traces {
		y = drawTrace(&svg, spans, longest, y)
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

// drawTrace draws a trace from y on, and returns where it ends.
func drawTrace(svg *strings.Builder, spans []ptrace.Span, longest pcommon.Timestamp, y int) int {
	root := rootOf(spans)
	fmt.Fprintf(svg, `<text x="%d" y="%d" font-weight="600" fill="#222222">training: %s, rank %s, epoch %s, step %s</text>
<text x="%d" y="%d" fill="#777777">trace %s, %d spans, %s</text>
`,
		margin, y+16, html.EscapeString(text(root, "phase_path")), text(root, "rank"), text(root, "epoch"), text(root, "step"),
		margin, y+34, root.TraceID().String()[:7], len(spans), duration(root))
	y += titleHeight
	scale := float64(width-nameWidth-margin) / float64(longest)
	children := map[pcommon.SpanID][]ptrace.Span{}
	for _, span := range spans {
		children[span.ParentSpanID()] = append(children[span.ParentSpanID()], span)
	}
	var drawn func(span ptrace.Span, depth int)
	drawn = func(span ptrace.Span, depth int) {
		x := nameWidth + scale*float64(span.StartTimestamp()-root.StartTimestamp())
		w := max(1, scale*float64(span.EndTimestamp()-span.StartTimestamp()))
		fmt.Fprintf(svg, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#eeeeee"/>
<text x="%d" y="%d" fill="#222222">%s</text>
<text x="%d" y="%d" fill="#777777" text-anchor="end">%s</text>
<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>
`,
			margin, y, width-margin, y,
			margin+18*depth, y+18, html.EscapeString(span.Name()),
			nameWidth-16, y+18, duration(span),
			x, y+5, w, rowHeight-10, cmp.Or(colors()[span.Name()], "#999999"))
		y += rowHeight
		inside := children[span.SpanID()]
		slices.SortFunc(inside, func(a, b ptrace.Span) int { return cmp.Compare(a.StartTimestamp(), b.StartTimestamp()) })
		for _, child := range inside {
			drawn(child, depth+1)
		}
	}
	drawn(root, 0)
	return y + margin
}

func rootOf(spans []ptrace.Span) ptrace.Span {
	return spans[slices.IndexFunc(spans, func(s ptrace.Span) bool { return s.ParentSpanID().IsEmpty() })]
}

func duration(span ptrace.Span) string {
	return time.Duration(span.EndTimestamp() - span.StartTimestamp()).Round(100 * time.Microsecond).String()
}
