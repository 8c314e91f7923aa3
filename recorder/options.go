// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"crypto/rand"
	"os"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/global"
)

const (
	loggerName   = "github.com/phaseattr/phaseattr/recorder"
	defaultPulse = time.Second
)

type config struct {
	provider   log.LoggerProvider
	session    string
	rank       int
	host       string
	pid        int
	attributes []log.KeyValue
	pulse      time.Duration
	onError    func(error)
}

// Option configures a [Recorder].
type Option func(*config)

func newConfig(opts []Option) *config {
	c := &config{pid: os.Getpid(), pulse: defaultPulse, onError: func(error) {}}
	c.host, _ = os.Hostname() // without a name, the events name no host
	for _, opt := range opts {
		opt(c)
	}
	if c.provider == nil {
		c.provider = global.GetLoggerProvider()
	}
	if c.session == "" {
		c.session = rand.Text()
	}
	return c
}

// common returns the attributes of every event.
func (c *config) common() []log.KeyValue {
	kvs := []log.KeyValue{log.String("session_id", c.session), log.Int("rank", c.rank), log.Int("pid", c.pid)}
	if c.host != "" {
		kvs = append(kvs, log.String("host", c.host))
	}
	return append(kvs, c.attributes...)
}

// WithLoggerProvider sets where the events go. Default: the global provider.
func WithLoggerProvider(provider log.LoggerProvider) Option {
	return func(c *config) { c.provider = provider }
}

// WithSession sets the ID of the session, that is of the run that the phases belong
// to. Default: a random ID; see [Recorder.SessionID].
func WithSession(id string) Option {
	return func(c *config) { c.session = id }
}

// WithRank sets the rank of this worker in its session. Default: 0.
func WithRank(rank int) Option {
	return func(c *config) { c.rank = rank }
}

// WithProcess sets the host and the process ID by which other telemetry knows this
// process. It is for programs in containers, which see a host name and a process ID of
// their own. Default: as the operating system says.
func WithProcess(host string, pid int) Option {
	return func(c *config) { c.host, c.pid = host, pid }
}

// WithAttributes adds attributes to every event, such as device_id, local_rank,
// world_size or job_id. Default: none.
func WithAttributes(attrs ...log.KeyValue) Option {
	return func(c *config) { c.attributes = append(c.attributes, attrs...) }
}

// WithPulse sets the interval of the sample events. The processor considers a process
// gone when ten of them are missing, for at least 5 s. The interval is rounded up to
// whole milliseconds; 0 or less means no sample events. Default: 1 s.
func WithPulse(interval time.Duration) Option {
	return func(c *config) { c.pulse = (interval + time.Millisecond - 1).Truncate(time.Millisecond) }
}

// WithErrorHandler sets a function that is called with every [ProtocolError] that a
// call returns. Several goroutines may call it at a time. Default: none.
func WithErrorHandler(handle func(error)) Option {
	return func(c *config) { c.onError = handle }
}
