// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package option checks the options of the components, so that every error names the YAML
// key and the value.
package option

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"
)

// Unmarshal unmarshals a configuration. It rejects malformed durations at the keys that are
// named, whose values the Collector's errors do not name, and numbers there, which the
// Collector reads as nanoseconds.
func Unmarshal(conf *confmap.Conf, into any, durations ...string) error {
	var errs []error
	for _, key := range durations {
		value := conf.Get(key)
		if value == nil {
			continue
		}
		if _, err := time.ParseDuration(fmt.Sprint(value)); err != nil {
			errs = append(errs, fmt.Errorf("%s must be a duration with a unit, such as 10s (got %#v)", key, value))
			conf.Delete(key) // or the Collector reports it again
		}
	}
	return errors.Join(append(errs, conf.Unmarshal(into))...)
}

// Checkf returns an error unless ok.
func Checkf(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// Positive returns an error unless a value is above 0.
func Positive[T int | time.Duration](key string, value T) error {
	return Checkf(value > 0, "%s must be positive (got %v)", key, value)
}

// NotNegative returns an error if a value is below 0.
func NotNegative[T int | time.Duration](key string, value T) error {
	return Checkf(value >= 0, "%s must not be negative (got %v)", key, value)
}

// NotBlank returns an error if a value is empty or only white space.
func NotBlank(key, value string) error {
	return Checkf(strings.TrimSpace(value) != "", "%s must not be blank (got %q)", key, value)
}

// OneOf returns an error, without the key, unless a value is allowed.
func OneOf[T ~string](value T, allowed []T) error {
	var names []string
	for _, name := range allowed {
		if name == value {
			return nil
		}
		names = append(names, string(name))
	}
	return fmt.Errorf("must be one of %s (got %q)", strings.Join(names, ", "), value)
}

// Keyed puts the key before an error that lacks it; nil stays nil.
func Keyed(key string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s %w", key, err)
	}
	return err
}
