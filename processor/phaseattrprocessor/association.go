// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/internal/option"
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

	// TimeOffset is how far the times of the telemetry are ahead of the moments that it is
	// about, by the clock of the ranks: an exporter may read a device seconds after its
	// driver did. Telemetry that the rule associates gets the phase of its time less the
	// offset, which may be negative. Default: 0s.
	TimeOffset time.Duration `mapstructure:"time_offset"`

	// prevent unkeyed literal initialization
	_ struct{}
}

var _ confmap.Unmarshaler = (*AssociationRule)(nil)

// Unmarshal rejects malformed durations, like Config.Unmarshal.
func (r *AssociationRule) Unmarshal(conf *confmap.Conf) error {
	return option.Unmarshal(conf, r, "time_offset")
}

// AssociationKey is a field of boundary records, and the attributes that have it on
// telemetry.
type AssociationKey struct {
	// Field is the boundary record's: session_id, rank, host, pid, container_id, pod_uid,
	// pod, namespace, job_id, gpu_uuid, pci_bus_id, device_id, gpu_instance_id, local_rank,
	// or any of its attributes.
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

	// Device is the device in the telemetry: its index, its UUID or its PCI address. A
	// number is an index.
	Device string `mapstructure:"device"`

	// Instance is the MIG instance of the device in the telemetry, such as dcgm-exporter's
	// GPU_I_ID. Default: none, for the whole device.
	Instance string `mapstructure:"instance"`

	// ToHost is the host in the boundary records. Default: the same.
	ToHost string `mapstructure:"to_host"`

	// LocalRank is the local rank that uses the device.
	LocalRank int `mapstructure:"local_rank"`

	// prevent unkeyed literal initialization
	_ struct{}
}

var _ confmap.Unmarshaler = (*DeviceMapping)(nil)

// Unmarshal accepts numbers for the device and its instance.
func (d *DeviceMapping) Unmarshal(conf *confmap.Conf) error {
	texts := map[string]any{}
	for _, key := range []string{"device", "instance"} {
		if number, ok := conf.Get(key).(int); ok {
			texts[key] = strconv.Itoa(number)
		}
	}
	if err := conf.Merge(confmap.NewFromStringMap(texts)); err != nil {
		return err
	}
	return conf.Unmarshal(d)
}

// defaultRules are the rules of a configuration that has none: session and rank, process,
// pod, job, and device, by its UUID, its PCI address and its index.
func defaultRules(config *Config) []association.Rule {
	rules := []association.Rule{{Keys: []association.Key{
		{Field: association.FieldSession, Names: []string{config.SessionAttribute}},
		{Field: association.FieldRank, Names: []string{config.RankAttribute}},
	}}}
	for _, fields := range [][]string{
		{association.FieldHost, association.FieldPID},
		{association.FieldPodUID},
		{association.FieldPod},
		{association.FieldJob},
		{association.FieldUUID},
		{association.FieldHost, association.FieldPCI},
		{association.FieldHost, association.FieldDevice},
	} {
		var rule association.Rule
		for _, field := range fields {
			rule.Keys = append(rule.Keys, association.Key{Field: field, Names: association.TelemetryNames(field)})
		}
		rules = append(rules, rule)
	}
	return rules
}

// rules returns the association rules of a configuration.
func (cfg *Config) rules() []association.Rule {
	if len(cfg.Association) == 0 {
		return append(defaultRules(cfg), cfg.sourceRules()...)
	}
	return rulesOf(cfg.Association)
}

func rulesOf(configured []AssociationRule) []association.Rule {
	rules := make([]association.Rule, len(configured))
	for i, rule := range configured {
		rules[i].Representative, rules[i].TimeOffset = rule.Representative, rule.TimeOffset
		for _, key := range rule.Keys {
			rules[i].Keys = append(rules[i].Keys, association.Key{Field: key.Field, Names: key.Names})
		}
	}
	return rules
}

func newAssociation(config *Config) *association.Association {
	devices := make([]association.Device, len(config.DeviceMap))
	for i, d := range config.DeviceMap {
		devices[i] = association.Device{
			Host: d.Host, Device: d.Device, Instance: d.Instance, ToHost: cmp.Or(d.ToHost, d.Host), LocalRank: d.LocalRank,
		}
	}
	sessions, ranks := config.sourceKeys()
	return association.New(association.Options{
		Rules: config.rules(), Devices: devices,
		Session: config.SessionAttribute, Rank: config.RankAttribute,
		SourceSessions: sessions, SourceRanks: ranks,
		TextBytes: config.Limits.MaxTextBytes,
	})
}

func (cfg *Config) validateAssociation() error {
	errs := []error{option.Checkf(len(cfg.Association) <= association.MaxRules,
		"association must have at most %d rules (got %d)", association.MaxRules, len(cfg.Association))}
	for i, rule := range cfg.Association {
		path := fmt.Sprintf("association::%d::", i)
		errs = append(errs, rule.validate(path+"keys"),
			option.Checkf(-cfg.Window < rule.TimeOffset && rule.TimeOffset < cfg.Window || cfg.Window <= 0,
				"%stime_offset must be shorter than window, %s (got %s)", path, cfg.Window, rule.TimeOffset))
	}
	return errors.Join(errs...)
}

func (r *AssociationRule) validate(path string) error {
	errs := []error{option.Checkf(len(r.Keys) > 0, "%s must name at least one key (got [])", path)}
	blank := func(name string) bool { return strings.TrimSpace(name) == "" }
	for i, key := range r.Keys {
		sameField := func(k AssociationKey) bool { return k.Field == key.Field }
		errs = append(errs,
			option.NotBlank(fmt.Sprintf("%s::%d::field", path, i), key.Field),
			option.Checkf(!slices.ContainsFunc(r.Keys[:i], sameField),
				"%s::%d::field must be named once in a rule (got %q twice)", path, i, key.Field),
			option.Checkf(len(key.Names) > 0 && !slices.ContainsFunc(key.Names, blank),
				"%s::%d::names must name attributes (got %q)", path, i, key.Names))
	}
	return errors.Join(errs...)
}

func (cfg *Config) validateDeviceMap() error {
	var errs []error
	for i, d := range cfg.DeviceMap {
		path := fmt.Sprintf("device_map::%d", i)
		sameDevice := func(other DeviceMapping) bool {
			return other.Host == d.Host && other.Device == d.Device && other.Instance == d.Instance
		}
		errs = append(errs,
			option.NotBlank(path+"::host", d.Host),
			option.NotBlank(path+"::device", d.Device),
			option.NotNegative(path+"::local_rank", d.LocalRank),
			option.Checkf(!slices.ContainsFunc(cfg.DeviceMap[:i], sameDevice), "%s: duplicate device %s on host %q", path, d.name(), d.Host))
	}
	return errors.Join(errs...)
}

// name returns what the mapping is about, as errors name it.
func (d *DeviceMapping) name() string {
	if d.Instance == "" {
		return strconv.Quote(d.Device)
	}
	return fmt.Sprintf("%q, instance %q,", d.Device, d.Instance)
}
