// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package phaseattrprocessor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"

	"github.com/phaseattr/phaseattr/processor/phaseattrprocessor/internal/association"
)

// maxRules bounds the association rules, each of which has metrics of its own.
const maxRules = 16

// AssociationRule associates telemetry with the groups that agree with it in all the
// rule's keys.
type AssociationRule struct {
	// Keys must all be present in the telemetry. They compare as text.
	Keys []AssociationKey `mapstructure:"keys"`

	// Representative lets the rank with the smallest number answer for all groups that
	// the rule names, for jobs of which only one rank reports phases. Default: false.
	Representative bool `mapstructure:"representative"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// AssociationKey is a field of boundary records, and what telemetry calls it.
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

// DeviceMapping says whose device it is, on a host where the program numbers its
// devices otherwise than the telemetry does.
type DeviceMapping struct {
	// Host and Device are what the telemetry says; Device is an index or a UUID.
	Host   string `mapstructure:"host"`
	Device string `mapstructure:"device"`

	// ToHost is what the boundary records call the host. Default: the same.
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

func newAssociation(config *Config) (*association.Association, error) {
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
	mappings, err := config.deviceMappings()
	if err != nil {
		return nil, err
	}
	devices := make([]association.Device, len(mappings))
	for i, d := range mappings {
		devices[i] = association.Device{Host: d.Host, Device: d.Device, ToHost: d.ToHost, LocalRank: d.LocalRank}
		if d.ToHost == "" {
			devices[i].ToHost = d.Host
		}
	}
	a := association.New(rules, devices, config.MaxTextBytes)
	for _, attribute := range config.Attributes {
		a.Keys.Add(string(attribute)) // the askers ask for them
	}
	return a, nil
}

// deviceMappings are the entries of the device map, those of the file after the others.
func (cfg *Config) deviceMappings() ([]DeviceMapping, error) {
	if cfg.DeviceMapFile == "" {
		return cfg.DeviceMap, nil
	}
	content, err := os.ReadFile(filepath.Clean(cfg.DeviceMapFile))
	if err != nil {
		return nil, fmt.Errorf("device_map_file must be a file that can be read: %w", err)
	}
	var file struct {
		DeviceMapFile []DeviceMapping `mapstructure:"device_map_file"`
	}
	entries, err := confmap.NewRetrievedFromYAML(content)
	if err == nil {
		var raw any
		if raw, err = entries.AsRaw(); err == nil {
			err = confmap.NewFromStringMap(map[string]any{"device_map_file": raw}).Unmarshal(&file)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("device_map_file must list entries of the device map (got %q): %w", cfg.DeviceMapFile, err)
	}
	return slices.Concat(cfg.DeviceMap, file.DeviceMapFile), nil
}

// validateAssociation returns what is wrong with the rules and the device map.
func (cfg *Config) validateAssociation() error {
	var errs []error
	reject := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(cfg.Association) > maxRules {
		reject("association must have at most %d rules (got %d)", maxRules, len(cfg.Association))
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
	mappings, err := cfg.deviceMappings()
	errs = append(errs, err)
	for i, d := range mappings {
		key := fmt.Sprintf("device_map::%d", i)
		if n := i - len(cfg.DeviceMap); n >= 0 {
			key = fmt.Sprintf("device_map_file::%d", n)
		}
		if d.Host == "" {
			reject("%s::host must not be empty", key)
		}
		if d.Device == "" {
			reject("%s::device must not be empty", key)
		}
		if d.LocalRank < 0 {
			reject("%s::local_rank must not be negative (got %d)", key, d.LocalRank)
		}
		if slices.ContainsFunc(mappings[:i], func(e DeviceMapping) bool { return e.Host == d.Host && e.Device == d.Device }) {
			reject("%s::device must be mapped once (got %q on %q twice)", key, d.Device, d.Host)
		}
	}
	return errors.Join(errs...)
}
