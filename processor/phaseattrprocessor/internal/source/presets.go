// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

//go:embed presets/*.yaml
var presets embed.FS

// Stormlog is the preset of records that name their whole path, which need no source to be
// read.
const Stormlog = "stormlog"

// Presets returns the names of the presets, in alphabetical order.
func Presets() []string {
	files, _ := presets.ReadDir("presets") // it is embedded
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(file.Name(), path.Ext(file.Name()))
	}
	return names
}

// Preset returns the configuration of a preset.
func Preset(name string) (*confmap.Conf, error) {
	text, err := presets.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("must be one of %s (got %q)", strings.Join(Presets(), ", "), name)
	}
	retrieved, err := confmap.NewRetrievedFromYAML(text)
	if err != nil {
		return nil, err
	}
	return retrieved.AsConf()
}
