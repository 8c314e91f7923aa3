// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/client"
)

// tooManyTenants is why boundary records of a tenant beyond their number are rejected.
const tooManyTenants = "metadata_cardinality_limit"

// tenants tells whose telemetry is, by the metadata of its client. Each tenant has sessions
// and places of its own.
type tenants struct {
	keys []string
	// escape tells a separator in a value from one between values.
	escape *strings.Replacer
	// unnamed is the tenant of telemetry without metadata.
	unnamed            string
	limit, maxTextSize int
	started            time.Time

	// mu guards known.
	mu sync.RWMutex
	// known has when each tenant was last named, since started.
	known map[string]*atomic.Int64
}

func newTenants(config *Config) *tenants {
	t := &tenants{
		keys: config.MetadataKeys, escape: strings.NewReplacer(`\`, `\\`, "/", `\/`, ",", `\,`),
		limit: config.MetadataCardinalityLimit, maxTextSize: config.Limits.MaxTextBytes,
		started: time.Now(), known: map[string]*atomic.Int64{},
	}
	t.unnamed = t.shorten(config.DefaultTenant)
	return t
}

// of returns the tenant of a batch, and false when it would be one too many.
func (t *tenants) of(ctx context.Context) (name string, ok bool) {
	if len(t.keys) == 0 {
		return "", true
	}
	name = t.name(client.FromContext(ctx).Metadata)
	return name, name == t.unnamed || t.note(name) || t.add(name, t.limit)
}

// name returns the name of a tenant: the values of the keys, joined so that it tells them
// from all others.
func (t *tenants) name(metadata client.Metadata) string {
	var name strings.Builder
	named := false
	for i, key := range t.keys {
		if i > 0 {
			name.WriteByte('/')
		}
		for j, value := range metadata.Get(key) {
			if j > 0 {
				name.WriteByte(',')
			}
			named = named || value != ""
			_, _ = t.escape.WriteString(&name, value) // it never fails
		}
	}
	if !named {
		return t.unnamed
	}
	return t.shorten(name.String())
}

// shorten returns a name, or the hash of one that is too long to keep.
func (t *tenants) shorten(name string) string {
	if len(name) <= t.maxTextSize {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// note notes that a tenant has been named. It reports whether it is known.
func (t *tenants) note(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	last, ok := t.known[name]
	if ok {
		last.Store(int64(time.Since(t.started)))
	}
	return ok
}

// add adds a tenant. It reports false when there are too many.
func (t *tenants) add(name string, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.known[name]
	if !ok {
		if len(t.known) >= limit {
			return false
		}
		last = new(atomic.Int64)
		t.known[name] = last
	}
	last.Store(int64(time.Since(t.started)))
	return true
}

// forget forgets the tenants that have not been named for some time and are not in use.
func (t *tenants) forget(after time.Duration, inUse func(name string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Since(t.started)
	for name, last := range t.known {
		if now-time.Duration(last.Load()) >= after && !inUse(name) {
			delete(t.known, name)
		}
	}
}
