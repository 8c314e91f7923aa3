#!/usr/bin/env bash
# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

# Tests the components with versions of the Collector, given as the versions of its unstable
# and stable modules, and builds a collector of each. The copies are under bin/compat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

(($#)) || set -- v0.158.0/v1.64.0 v0.165.0/v1.71.0

for versions; do
  unstable=${versions%/*} stable=${versions#*/} dir=$root/bin/compat/${versions%/*}
  printf '\n##### Collector %s\n' "$unstable"
  rm -rf "$dir" && mkdir -p "$dir"
  git ls-files -z -- go.mod go.sum connector internal processor cmd/phasegen test/loopback testdata recorder README.md metadata.yaml docs examples |
    tar --null -T - -cf - | tar -xf - -C "$dir"
  cd "$dir"
  "$GO" mod edit -json | sed -n 's/.*"Path": "\(.*\)",*/\1/p' | sort -u | while read -r path; do
    case $path in
      go.opentelemetry.io/collector/*) [[ $("$GO" list -m -f '{{.Version}}' "$path") == v0.* ]] && echo "$path@$unstable" || echo "$path@$stable" ;;
      # Not every version of every module is on every proxy; an older one works as well.
      github.com/open-telemetry/opentelemetry-collector-contrib/*) if "$GO" list -m "$path@$unstable" > /dev/null 2>&1; then echo "$path@$unstable"; fi ;;
    esac
  done | xargs "$GO" get
  "$GO" mod tidy
  "$GO" vet ./connector/... ./internal/... ./processor/...
  "$GO" test ./connector/... ./internal/... ./processor/...

  cat > builder-config.yaml <<EOF
dist: {name: otelcol-compat, module: github.com/phaseattr/otelcol-compat, output_path: $dir/collector}
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver $unstable
processors:
  - gomod: github.com/phaseattr/phaseattr v0.0.0
    import: github.com/phaseattr/phaseattr/processor/phaseattrprocessor
    path: $dir
connectors:
  - gomod: github.com/phaseattr/phaseattr v0.0.0
    import: github.com/phaseattr/phaseattr/connector/phasespansconnector
    path: $dir
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter $unstable
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider $stable
EOF
  # The builder adds modules of its own version. The collector is compiled here and not by the
  # builder, whose flags would compile everything once more.
  "$GO" run "go.opentelemetry.io/collector/cmd/builder@$unstable" --skip-compilation --config builder-config.yaml
  (cd collector && "$GO" build -o otelcol-compat .)
  "$dir/collector/otelcol-compat" components | grep -A 3 'name: phase_attr$'
  "$dir/collector/otelcol-compat" components | grep -A 3 'name: phase_spans$'
  cd "$root"
done
printf '\n##### all versions work\n'
