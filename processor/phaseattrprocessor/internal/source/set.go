// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/phaseattr/phaseattr/internal/boundary"
	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/replay"
)

// Options are those of a source: its Spans, its Logs, or both.
type Options struct {
	Spans *Spans
	Logs  *Logs
	// Feed has the rules of what the source feeds.
	Feed replay.Feed
	// LocalRankIsGPU says that the local rank of a process is the index of its GPU.
	LocalRankIsGPU bool
}

// Set is the sources of a configuration. It is safe for concurrent use.
type Set struct {
	limits         boundary.Limits
	keepAttributes []string
	keys           *boundary.KeySet
	spans          []*spanSource
	logs           []*logSource
	// partial is true when log records can have partial spans, partialKey what tells them.
	partial    bool
	partialKey boundary.Key
	readers    sync.Pool
}

// New compiles sources. keepAttributes are the keys of the phases' own attributes that are
// kept. Its errors name the YAML key within the source, and the value.
func New(sources []Options, limits boundary.Limits, keepAttributes []string, set component.TelemetrySettings) (*Set, error) {
	s := &Set{limits: limits, keepAttributes: keepAttributes, keys: boundary.NewKeySet()}
	for i := range sources {
		o := &sources[i]
		if o.Spans != nil {
			spans, err := s.newSpans(o, set)
			if err != nil {
				return nil, err
			}
			s.spans = append(s.spans, spans)
			s.partial = s.partial || o.Spans.PartialSpans
		}
		if o.Logs != nil {
			logs, err := s.newLogs(o, set)
			if err != nil {
				return nil, err
			}
			s.logs = append(s.logs, logs)
		}
	}
	if s.partial {
		s.partialKey = s.keys.Add(partialEvent)
	}
	s.readers.New = func() any { return newReader(s) }
	return s, nil
}

// Feed returns the feed of a source by its name, nil if there is none.
func (s *Set) Feed(name string) *replay.Feed {
	for _, spans := range s.spans {
		if spans.feed.Name == name {
			return &spans.feed
		}
	}
	for _, logs := range s.logs {
		if logs.feed.Name == name {
			return &logs.feed
		}
	}
	return nil
}

// HasSpans reports whether any source reads spans, HasLogs whether any reads log records.
func (s *Set) HasSpans() bool { return len(s.spans) > 0 }

// HasLogs is described at HasSpans.
func (s *Set) HasLogs() bool { return len(s.logs) > 0 || s.partial }

// keysOf returns some keys of the set.
func (s *Set) keysOf(names ...string) boundary.Keys {
	var keys boundary.Keys
	for _, name := range names {
		if name != "" {
			keys = keys.With(s.keys.Add(name))
		}
	}
	return keys
}

// identity is how a source tells whose an item is.
type identity struct {
	session, rank, group, lane, main boundary.Keys
	// sessions and ranks are the names of session and rank.
	sessions, ranks []string
	// ranked is true when items name their rank.
	ranked bool
	// mains are the values of main of the processes that answer for their rank.
	mains []string
	path  SessionPath
	file  boundary.Keys
	// mask has the bits of all keys.
	mask boundary.KeyMask
}

func (s *Set) newIdentity(session, rank, group, lane []string, main Main, path SessionPath) identity {
	id := identity{
		session: s.keysOf(session...), rank: s.keysOf(rank...), group: s.keysOf(group...), lane: s.keysOf(lane...),
		sessions: session, ranks: rank, main: s.keysOf(main.Field), mains: main.Values, ranked: len(rank) > 0,
		path: path, file: s.keysOf(path.Field),
	}
	for _, keys := range []boundary.Keys{id.session, id.rank, id.group, id.lane, id.main, id.file} {
		id.mask |= keys.Mask()
	}
	return id
}

// whose is what the items of a scope, or an item, say about themselves.
type whose struct {
	rank boundary.RankKey
	lane string
	// named is true when they name their session and rank, aside when they are of a process
	// that does not answer for its rank.
	named, aside bool
	// lacks are the attributes of which an item needs one, if they name neither.
	lacks  []string
	reason boundary.Reason
}

// mayBe reports whether an item of a scope can name what the scope does not.
func (w *whose) mayBe(attributes pcommon.Map) bool {
	return w.named || slices.ContainsFunc(w.lacks, func(name string) bool {
		_, ok := attributes.Get(name)
		return ok
	})
}

// read reads whose the items are.
func (id *identity) read(f *boundary.Fields, limits *boundary.Limits) whose {
	var w whose
	session, ok := textOf(f, id.session)
	if !ok {
		session, ok = id.sessionOfFile(f)
	}
	if !ok {
		w.lacks = id.sessions
		return w
	}
	if id.ranked {
		v, found := f.FindAny(id.rank)
		if !found {
			w.lacks = id.ranks
			return w
		}
		if w.rank.Rank, ok = boundary.Integer(v); !ok {
			w.reason = boundary.BadRank
		}
	}
	w.named = true
	session = joined(session, id.group, f)
	w.rank.Session, w.lane, w.aside = session, joined("", id.lane, f), id.isAside(f)
	switch {
	case len(session) > limits.TextBytes, len(w.lane) > limits.TextBytes:
		w.reason = boundary.TooLong
	case !boundary.IsText(session), !boundary.IsText(w.lane):
		w.reason = boundary.BadText
	}
	return w
}

// joined returns the values of keys behind a text that may be empty, with slashes between them.
// Those of which there may be several have none in them, and one that is missing between two others
// leaves its place empty, so that different values are different texts.
func joined(text string, keys boundary.Keys, f *boundary.Fields) string {
	list, missing := keys.List(), ""
	several := text != "" || len(list) > 1
	for _, key := range list {
		part, ok := textOf(f, boundary.KeysOf(key))
		if ok && several {
			part = withoutSlash(part)
		}
		switch {
		case !ok:
			missing += "/"
		case text == "":
			text, missing = part, ""
		default:
			text, missing = text+missing+"/"+part, ""
		}
	}
	return text
}

// withoutSlash returns a text as a part of a path, as it is written in a URL.
func withoutSlash(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "%", "%25"), "/", "%2F")
}

// isAside reports whether an item is of a helper.
func (id *identity) isAside(f *boundary.Fields) bool {
	text, ok := textOf(f, id.main)
	if !ok {
		return false
	}
	for _, value := range id.mains {
		if text == value {
			return false
		}
	}
	return true
}

// sessionOfFile returns the part of the path of a file that names the session. It ends at the
// last directory of the name, which may be that of a directory above all runs, too.
func (id *identity) sessionOfFile(f *boundary.Fields) (string, bool) {
	file, ok := textOf(f, id.file)
	if !ok {
		return "", false
	}
	end := max(strings.LastIndex(file, "/"+id.path.Before+"/"), strings.LastIndex(file, `\`+id.path.Before+`\`))
	return file[:max(end, 0)], end > 0
}

func textOf(f *boundary.Fields, keys boundary.Keys) (string, bool) {
	v, found := f.FindAny(keys)
	if !found {
		return "", false
	}
	return boundary.Text(v)
}

// keyed returns an error with the YAML key that it is about, and the value.
func keyed(key, value string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s must be a valid OTTL condition (got %q): %w", key, value, err)
	}
	return err
}
