// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package boundary

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPathKeepsItsPartsAndTheirLabel(t *testing.T) {
	for _, tc := range []struct {
		name  string
		parts []string
		want  []string
		label string
	}{
		{"no parts", nil, []string{}, ""},
		{"empty parts only", []string{"", ""}, []string{}, ""},
		{"one part", []string{"train"}, []string{"train"}, "train"},
		{"several", []string{"train", "step", "forward"}, []string{"train", "step", "forward"}, "train / step / forward"},
		{"empty parts between", []string{"", "train", "", "step", ""}, []string{"train", "step"}, "train / step"},
		{"separator inside a part", []string{"a / b", "c"}, []string{"a / b", "c"}, "a / b / c"},
		{"the separator as a part", []string{" / ", "/"}, []string{" / ", "/"}, " /  / /"},
		{"blank part", []string{" "}, []string{" "}, " "},
		{"no valid text", []string{"\xff", "é"}, []string{"\xff", "é"}, "\xff / é"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := NewPath(tc.parts...)
			assert.Equal(t, tc.want, p.Parts())
			assert.Equal(t, tc.label, p.Label())
			assert.Equal(t, len(tc.want), p.Depth())
			assert.Equal(t, len(tc.want) == 0, p == Path{})
			assert.Equal(t, p, NewPath(tc.want...))
		})
	}
}

func TestPathsWithTheSameLabelButOtherPartsDiffer(t *testing.T) {
	assert.Equal(t, NewPath("a / b").Label(), NewPath("a", "b").Label())
	assert.NotEqual(t, NewPath("a / b"), NewPath("a", "b"))
}

func TestPathParentIsThePathWithoutItsLastPart(t *testing.T) {
	p := NewPath("a / b", "c", "d")
	assert.Equal(t, NewPath("a / b", "c"), p.Parent())
	assert.Equal(t, NewPath("a / b"), p.Parent().Parent())
	assert.Equal(t, Path{}, p.Parent().Parent().Parent())
	assert.Equal(t, Path{}, Path{}.Parent())
}

func TestPathContainsWhatLiesProperlyInside(t *testing.T) {
	for _, tc := range []struct {
		name         string
		outer, inner Path
		want         bool
	}{
		{"child", NewPath("train"), NewPath("train", "step"), true},
		{"grandchild", NewPath("train"), NewPath("train", "step", "forward"), true},
		{"itself", NewPath("train"), NewPath("train"), false},
		{"parent", NewPath("train", "step"), NewPath("train"), false},
		{"sibling", NewPath("train", "a"), NewPath("train", "b"), false},
		{"sibling's child", NewPath("train", "a"), NewPath("train", "b", "c"), false},
		{"name that begins alike", NewPath("train"), NewPath("training", "step"), false},
		{"same label in other parts", NewPath("a", "b"), NewPath("a / b", "c"), false},
		{"separator inside a part", NewPath("a / b"), NewPath("a / b", "c"), true},
		{"separator inside the inner part", NewPath("a"), NewPath("a / b", "c"), false},
		{"nothing contains all", Path{}, NewPath("train"), true},
		{"nothing does not contain itself", Path{}, Path{}, false},
		{"nothing lies in nothing", NewPath("train"), Path{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, tc.outer.Contains(tc.inner))
		})
	}
}

func TestPathIsTruncated(t *testing.T) {
	path := NewPath("train", "a / b", "forward")
	assert.Equal(t, path, path.Cut(0))
	assert.Equal(t, path, path.Cut(3))
	assert.Equal(t, path, path.Cut(4))
	assert.Equal(t, NewPath("train", "a / b"), path.Cut(2))
	assert.Equal(t, NewPath("train"), path.Cut(1))
	assert.Equal(t, Path{}, Path{}.Cut(1))
}
