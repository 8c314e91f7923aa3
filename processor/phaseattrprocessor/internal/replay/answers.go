// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "sync"

// answersKept is how many moments a group remembers having been asked about.
const answersKept = 32

// answerLog remembers the moments that a group was last asked about, so that a late
// boundary can tell how many answers it would have changed.
type answerLog struct {
	// mu guards what follows.
	mu      sync.Mutex
	recent  []answered
	next    int
	newest  int64
	started bool
}

// answered is a moment and the number of records that were answered for it.
type answered struct {
	at      int64
	records int64
}

func (l *answerLog) note(at, records int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started || at > l.newest {
		l.newest, l.started = at, true
	}
	if len(l.recent) < answersKept {
		l.recent = append(l.recent, answered{at, records})
		return
	}
	l.recent[l.next] = answered{at, records}
	l.next = (l.next + 1) % answersKept
}

// since returns the moments from at on.
func (l *answerLog) since(at int64) []answered {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started || l.newest < at {
		return nil
	}
	var found []answered
	for _, a := range l.recent {
		if a.at >= at {
			found = append(found, a)
		}
	}
	return found
}

// outdated returns how many of the answers a change to the thread's timeline would
// have changed.
func (t *thread) outdated(asked []answered, change func()) int64 {
	if len(asked) == 0 {
		change()
		return 0
	}
	type moment struct {
		stack    *node
		standing int
	}
	at := func(time int64) moment {
		stack, standing := t.at(time)
		return moment{stack, len(standing)}
	}
	before := make([]moment, len(asked))
	for i, a := range asked {
		before[i] = at(a.at)
	}
	change()
	changed := int64(0)
	for i, a := range asked {
		if at(a.at) != before[i] {
			changed += a.records
		}
	}
	return changed
}
