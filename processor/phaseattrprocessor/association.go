// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
)

// AssociationRule associates telemetry with the ranks that have the same values of all the
// rule's keys.
type AssociationRule struct {
	// Keys must all be present in the telemetry. They compare as text.
	Keys []AssociationKey `mapstructure:"keys"`

	// Representative lets the rank with the smallest number answer for all ranks that the
	// rule matches, for jobs of which only one rank reports phases. Default: false.
	Representative bool `mapstructure:"representative"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// AssociationKey is a field of boundary records, and the attributes that have it on
// telemetry.
type AssociationKey struct {
	// Field is the boundary record's: session_id, rank, host, pid, device_id,
	// local_rank, job_id, or any of its attributes.
	Field string `mapstructure:"field"`

	// Names are the telemetry's attributes that may hold it: of the data point, log
	// record or span, then of the scope and the resource.
	Names []string `mapstructure:"names"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// DeviceMapping maps a device to a local rank, on a host where the program numbers its
// devices differently from the telemetry.
type DeviceMapping struct {
	// Host and Device identify the device in the telemetry; Device is an index or a UUID.
	Host   string `mapstructure:"host"`
	Device string `mapstructure:"device"`

	// ToHost is the host in the boundary records. Default: the same.
	ToHost string `mapstructure:"to_host"`

	// LocalRank is the local rank that uses the device.
	LocalRank int `mapstructure:"local_rank"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// defaultRules are the rules of a configuration that has none: session and rank,
// host and process, host and device.
func defaultRules(config *Config) []association.Rule {
	host := association.Key{Field: association.FieldHost, Names: []string{"host.name", "host", "Hostname", "hostname"}}
	return []association.Rule{
		{Keys: []association.Key{
			{Field: association.FieldSession, Names: []string{config.SessionAttribute}},
			{Field: association.FieldRank, Names: []string{config.RankAttribute}},
		}},
		{Keys: []association.Key{
			host, {Field: association.FieldPID, Names: []string{"process.pid", "pid"}},
		}},
		{Keys: []association.Key{
			host, {Field: association.FieldDevice, Names: []string{"gpu", "gpu.index", "hw.id", "device_id", "GPU_ID", "UUID"}},
		}},
	}
}

func newAssociation(config *Config) *association.Association {
	rules := defaultRules(config)
	if len(config.Association) > 0 {
		rules = make([]association.Rule, len(config.Association))
	}
	for i, rule := range config.Association {
		rules[i].Representative = rule.Representative
		for _, key := range rule.Keys {
			rules[i].Keys = append(rules[i].Keys, association.Key{Field: key.Field, Names: key.Names})
		}
	}
	devices := make([]association.Device, len(config.DeviceMap))
	for i, d := range config.DeviceMap {
		devices[i] = association.Device{Host: d.Host, Device: d.Device, ToHost: d.ToHost, LocalRank: d.LocalRank}
		if d.ToHost == "" {
			devices[i].ToHost = d.Host
		}
	}
	return association.New(rules, devices, config.Limits.MaxTextBytes)
}

// validateAssociation returns every problem of the rules and the device map.
func (cfg *Config) validateAssociation() error {
	var errs []error
	reject := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(cfg.Association) > association.MaxRules {
		reject("association must have at most %d rules (got %d)", association.MaxRules, len(cfg.Association))
	}
	for i, rule := range cfg.Association {
		if len(rule.Keys) == 0 {
			reject("association::%d::keys must name at least one key (got [])", i)
		}
		for j, key := range rule.Keys {
			blank := func(text string) bool { return strings.TrimSpace(text) == "" }
			if blank(key.Field) {
				reject("association::%d::keys::%d::field must not be blank (got %q)", i, j, key.Field)
			}
			if len(key.Names) == 0 || slices.ContainsFunc(key.Names, blank) {
				reject("association::%d::keys::%d::names must name attributes (got %q)", i, j, key.Names)
			}
			if slices.ContainsFunc(rule.Keys[:j], func(k AssociationKey) bool { return k.Field == key.Field }) {
				reject("association::%d::keys::%d::field must be named once in a rule (got %q twice)", i, j, key.Field)
			}
		}
	}
	for i, d := range cfg.DeviceMap {
		key := fmt.Sprintf("device_map::%d", i)
		if d.Host == "" {
			reject("%s::host must not be empty", key)
		}
		if d.Device == "" {
			reject("%s::device must not be empty", key)
		}
		if d.LocalRank < 0 {
			reject("%s::local_rank must not be negative (got %d)", key, d.LocalRank)
		}
		if slices.ContainsFunc(cfg.DeviceMap[:i], func(e DeviceMapping) bool { return e.Host == d.Host && e.Device == d.Device }) {
			reject("%s: duplicate device %q on host %q", key, d.Device, d.Host)
		}
	}
	return errors.Join(errs...)
}
