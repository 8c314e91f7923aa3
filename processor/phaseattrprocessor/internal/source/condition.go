// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
)

// condition is an OTTL condition. A nil condition holds for all.
type condition[K any] struct {
	parsed *ottl.Condition[K]
	// ofScope is true when the condition is on the resource and the scope only.
	ofScope bool
}

// holds reports whether the condition holds. One that cannot be told does not. No condition waits
// for anything, so that it needs no context of the caller's.
//
//nolint:contextcheck,nolintlint // it silences the callers, which nolintlint does not see
func (c *condition[K]) holds(tCtx K) bool {
	if c == nil {
		return true
	}
	ok, err := c.parsed.Eval(context.Background(), tCtx)
	return ok && err == nil
}

// spanCondition compiles a condition on spans; an empty one is none.
func spanCondition(text string, set component.TelemetrySettings) (*condition[*ottlspan.TransformContext], error) {
	if text == "" {
		return nil, nil //nolint:nilnil // it is none
	}
	parser, err := ottlspan.NewParser(
		ottlfuncs.StandardConverters[*ottlspan.TransformContext](), set, ottlspan.EnablePathContextNames())
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseCondition(text)
	if err != nil {
		return nil, err
	}
	return &condition[*ottlspan.TransformContext]{parsed, !mentions(text, ottlspan.ContextName)}, nil
}

// logCondition compiles a condition on log records; an empty one is none.
func logCondition(text string, set component.TelemetrySettings) (*condition[*ottllog.TransformContext], error) {
	if text == "" {
		return nil, nil //nolint:nilnil // it is none
	}
	parser, err := ottllog.NewParser(
		ottlfuncs.StandardConverters[*ottllog.TransformContext](), set, ottllog.EnablePathContextNames())
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseCondition(text)
	if err != nil {
		return nil, err
	}
	return &condition[*ottllog.TransformContext]{parsed, !mentions(text, ottllog.ContextName)}, nil
}

// mentions reports whether a condition may be on a context: whether it has the name and a dot, with
// whatever space between.
func mentions(text, context string) bool {
	return strings.Contains(strings.Join(strings.Fields(text), ""), context+".")
}
