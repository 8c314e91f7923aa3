#!/usr/bin/env bash
# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

# Cross-compiles collectors.
#   dist.sh build VERSION MANIFEST DIRECTORY ARCHITECTURE...   DIRECTORY/linux_ARCHITECTURE/NAME
#   dist.sh release VERSION ARCHITECTURE...                    archives, SBOMs and checksums in bin/release
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CGO_ENABLED=0

# build compiles the collector of a manifest; only the sources are generated on this machine.
build() {
  local version=$1 manifest=$2 directory=$3 sources=$PWD/bin/.dist tags
  shift 3
  rm -rf "$sources" && mkdir -p "$directory" bin
  sed "s|output_path:.*|output_path: $sources|; s|^  version:.*|  version: $version|" "$manifest" > bin/.dist.yaml
  "$GO" tool -modfile=tools/builder/go.mod builder --config bin/.dist.yaml --skip-compilation
  tags=$(sed -n 's/^  build_tags: \([^ ]*\).*/\1/p' "$manifest")
  for architecture; do
    local binary
    binary=$(cd "$directory" && pwd)/linux_$architecture/$(sed -n 's/^  name: //p' "$manifest")
    (cd "$sources" && GOARCH=$architecture "$GO" build -trimpath -ldflags='-s -w' -tags "$tags" -o "$binary" .)
  done
}

release() {
  local version=$1 out=$PWD/bin/release
  shift
  rm -rf bin/dist "$out" && mkdir -p "$out"
  for manifest in builder-config.yaml examples/dcgm/builder-config.yaml examples/gateway/builder-config.yaml; do
    build "$version" "$manifest" bin/dist "$@"
  done
  for architecture; do
    GOARCH=$architecture "$GO" build -trimpath -ldflags='-s -w' -o "bin/dist/linux_$architecture/phasegen" ./cmd/phasegen
    for binary in bin/dist/linux_"$architecture"/*; do
      local name
      name=$(basename "$binary")_${version}_linux_$architecture
      tar -czf "$out/$name.tar.gz" --owner=0 --group=0 --numeric-owner -C "$(dirname "$binary")" "$(basename "$binary")" -C "$PWD" LICENSE
      # The module of this tree is known by its path only.
      "$GO" tool -modfile=tools/sbom/go.mod cyclonedx-gomod bin -version "v$version" -json "$binary" |
        sed -e "s|golang/\.\./\.\.@(devel)|golang/github.com/phaseattr/phaseattr@v$version|" \
          -e 's|"name": "\.\./\.\."|"name": "github.com/phaseattr/phaseattr"|' -e "s|\"version\": \"(devel)\"|\"version\": \"v$version\"|" \
          > "$out/$name.cdx.json"
    done
  done
  (cd "$out" && sha256sum -- * > SHA256SUMS && cat SHA256SUMS)
}

"$@"
