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

	// Representative lets the smallest rank stand for all ranks that the rule finds, for
	// jobs of which only one rank reports phases. Default: false.
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
	// Host is the device's host in the telemetry.
	Host string `mapstructure:"host"`

	// Device is the device in the telemetry: its index or its UUID.
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
			host, {Field: association.FieldDevice, Names: []string{"gpu", "gpu.index", "hw.id", "device_id", "GPU_ID", "gpu_id", "GpuIndex", "UUID", "uuid"}},
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

func (cfg *Config) validateAssociation() error {
	errs := []error{checkf(len(cfg.Association) <= association.MaxRules,
		"association must have at most %d rules (got %d)", association.MaxRules, len(cfg.Association))}
	for i, rule := range cfg.Association {
		errs = append(errs, rule.validate(fmt.Sprintf("association::%d::keys", i)))
	}
	return errors.Join(errs...)
}

func (r *AssociationRule) validate(path string) error {
	errs := []error{checkf(len(r.Keys) > 0, "%s must name at least one key (got [])", path)}
	blank := func(name string) bool { return strings.TrimSpace(name) == "" }
	for i, key := range r.Keys {
		sameField := func(k AssociationKey) bool { return k.Field == key.Field }
		errs = append(errs,
			notBlank(fmt.Sprintf("%s::%d::field", path, i), key.Field),
			checkf(!slices.ContainsFunc(r.Keys[:i], sameField),
				"%s::%d::field must be named once in a rule (got %q twice)", path, i, key.Field),
			checkf(len(key.Names) > 0 && !slices.ContainsFunc(key.Names, blank),
				"%s::%d::names must name attributes (got %q)", path, i, key.Names))
	}
	return errors.Join(errs...)
}

func (cfg *Config) validateDeviceMap() error {
	var errs []error
	for i, d := range cfg.DeviceMap {
		path := fmt.Sprintf("device_map::%d", i)
		sameDevice := func(other DeviceMapping) bool { return other.Host == d.Host && other.Device == d.Device }
		errs = append(errs,
			notBlank(path+"::host", d.Host),
			notBlank(path+"::device", d.Device),
			notNegative(path+"::local_rank", d.LocalRank),
			checkf(!slices.ContainsFunc(cfg.DeviceMap[:i], sameDevice), "%s: duplicate device %q on host %q", path, d.Device, d.Host))
	}
	return errors.Join(errs...)
}
