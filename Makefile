# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

MODULE     := github.com/phaseattr/phaseattr
COMPONENTS := processor/phaseattrprocessor connector/phasespansconnector
COLLECTOR  := bin/otelcol-phaseattr
DCGM       := bin/otelcol-dcgm
GATEWAY    := bin/otelcol-gateway
TRACED     := bin/otelcol-jaeger
PHASEGEN   := bin/phasegen
TYPES      := bin/grafana-types
MEASURED   := bin/otelcol-bench

GO        ?= go
FUZZTIME  ?= 1m
CHECKS    ?= 10000
BENCH     ?= .
BENCHTIME ?= 1s
KILLS     ?= 120
ROUNDS    ?= 64
SOAK      ?= 30m
CLUSTERS  ?= 400
SEED      ?= 0
PEERS     ?=
BASE      ?=
RUNS      ?= 5
VERSION   ?= 0.1.0
NAME      ?=
IMAGE     ?=
COMPAT    ?=
ARCHITECTURES ?= amd64 arm64

# Tools are built from source at the versions pinned in their go.mod; nothing is installed.
TOOL    := $(GO) tool -modfile=tools/go.mod
BUILDER := $(GO) tool -modfile=tools/builder/go.mod builder
LINTER  := $(GO) tool -modfile=tools/golangci-lint/go.mod golangci-lint
CHLOG   := $(TOOL) chloggen

# Runs a benchmark and writes its output to docs/performance.md.
RECORD := $(GO) run ./record

# The sources of the collector.
SOURCES := $(shell find connector internal processor -name '*.go' ! -name '*_test.go' 2>/dev/null)

# The modules beside the main one that have tests. Published ones need no newer Go than the
# main one; what tests and builds them does.
PUBLISHED := recorder recorder/internal/sdktest
MODULES   := $(PUBLISHED) test/recorder tools/image
# The modules that are only linted: their tests need what other targets build.
LINTED := test/gateway

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Run the quickstart on the built collector
	@echo "==> running the quickstart"
	@$(GO) build -o bin/quickstart-run ./examples/quickstart && exec bin/quickstart-run -collector $(COLLECTOR)

.PHONY: phasegen
phasegen: $(PHASEGEN) ## Build bin/phasegen, a training job on paper
	@echo "==> $(PHASEGEN) is up to date"

$(PHASEGEN): go.mod go.sum $(shell find cmd -name '*.go' ! -name '*_test.go' 2>/dev/null)
	@echo "==> building $@"
	@mkdir -p $(@D)
	$(GO) build -o $@ ./cmd/phasegen

.PHONY: demo
demo: build $(PHASEGEN) bin/prometheus ## Run a job on paper, the collector and Prometheus; the first time takes minutes
	@echo "==> running the demo"
	@$(GO) build -o bin/demo-run ./examples/demo && exec bin/demo-run

.PHONY: test
test: ## Run the tests with the race detector, in random order
	@echo "==> testing"
	$(GO) test -race -shuffle=on -timeout 30m ./...
	@for mod in $(MODULES); do (cd $$mod && $(GO) test -race -shuffle=on -timeout 30m ./...) || exit 1; done

.PHONY: test-published
test-published: ## Run the tests of the modules that others import, with the oldest Go that they support
	@echo "==> testing the main module, $(PUBLISHED)"
	$(GO) test -race -shuffle=on ./...
	@for mod in $(PUBLISHED); do (cd $$mod && $(GO) test -race -shuffle=on ./...) || exit 1; done

.PHONY: build
build: $(COLLECTOR) ## Build bin/otelcol-phaseattr; takes minutes the first time
	@echo "==> $(COLLECTOR) is up to date"

$(COLLECTOR): builder-config.yaml go.mod go.sum tools/builder/go.mod $(SOURCES)
	@echo "==> building $@ from builder-config.yaml"
	@mkdir -p $(@D)
	$(BUILDER) --config builder-config.yaml
	@mv bin/.build/$(@F) $@

.PHONY: e2e
e2e: build ## Test the built collector from outside
	@echo "==> testing $(COLLECTOR) end to end"
	OTELCOL_PHASEATTR="$(CURDIR)/$(COLLECTOR)" $(GO) test -tags e2e -count=1 -v -timeout 30m ./test/e2e/...
	$(GO) test -tags e2e -count=1 -v -run 'TestSoakUnderAttack|TestAHostileTenantAtFullSize' ./processor/phaseattrprocessor

.PHONY: e2e-soak
e2e-soak: ## Run the processor for SOAK under attack, with wrong clocks, restarts and a storage that hangs
	@echo "==> soaking for $(SOAK)"
	SOAK=$(SOAK) $(GO) test -tags e2e -count=1 -v -timeout 0 -run TestSoakUnderAttack ./processor/phaseattrprocessor

.PHONY: clusters
clusters: ## Generate CLUSTERS clusters from SEED on, and look for wrong phases
	CLUSTERS=$(CLUSTERS) SEED=$(SEED) $(GO) test -count=1 -v -timeout 0 -run '^TestClusters' ./processor/phaseattrprocessor

.PHONY: e2e-crash
e2e-crash: build ## Kill the built collector KILLS times and damage its storage ROUNDS times
	@echo "==> killing $(COLLECTOR) $(KILLS) times and damaging its storage $(ROUNDS) times, in each way"
	OTELCOL_PHASEATTR="$(CURDIR)/$(COLLECTOR)" KILLS=$(KILLS) ROUNDS=$(ROUNDS) \
	  $(GO) test -tags e2e -count=1 -v -timeout 30m -run 'TestKilled|TestDamagedStorage' ./test/e2e/...

.PHONY: build-dcgm
build-dcgm: $(DCGM) ## Build bin/otelcol-dcgm, the collector of examples/dcgm
	@echo "==> $(DCGM) is up to date"

$(DCGM): examples/dcgm/builder-config.yaml go.mod go.sum tools/builder/go.mod $(SOURCES)
	@echo "==> building $@ from $<"
	@mkdir -p $(@D)
	$(BUILDER) --config $<
	@mv bin/.build-dcgm/$(@F) $@

# With the builder's flags, packages that a collector has, too, are compiled once.
STATIC = CGO_ENABLED=0 $(GO) build -trimpath

bin/prometheus: tools/prometheus/go.mod
	@echo "==> building $@"
	@mkdir -p $(@D)
	$(STATIC) -modfile=$< -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/prometheus

.PHONY: e2e-dcgm
e2e-dcgm: build-dcgm bin/prometheus ## Run examples/dcgm into a real Prometheus
	@echo "==> testing examples/dcgm end to end"
	OTELCOL_DCGM="$(CURDIR)/$(DCGM)" PROMETHEUS="$(CURDIR)/bin/prometheus" $(GO) test -tags e2e -count=1 -v ./test/dcgm/...

.PHONY: build-gateway
build-gateway: $(GATEWAY) ## Build bin/otelcol-gateway, the collector of examples/gateway
	@echo "==> $(GATEWAY) is up to date"

$(GATEWAY): examples/gateway/builder-config.yaml go.mod go.sum tools/builder/go.mod $(SOURCES)
	@echo "==> building $@ from $<"
	@mkdir -p $(@D)
	$(BUILDER) --config $<
	@mv bin/.build-gateway/$(@F) $@

.PHONY: e2e-gateway
e2e-gateway: build-gateway $(PHASEGEN) ## Run examples/gateway: agents, gateways that come and go, Kafka
	@echo "==> testing examples/gateway end to end"
	OTELCOL_GATEWAY="$(CURDIR)/$(GATEWAY)" PHASEGEN="$(CURDIR)/$(PHASEGEN)" \
	  sh -c "cd test/gateway && $(GO) test -tags e2e -count=1 -v -timeout 30m ./..."

.PHONY: e2e-examples
e2e-examples: build-dcgm $(PHASEGEN) ## Run examples/megatron, torchtitan and opentelemetry on jobs on paper, in real time
	@echo "==> testing the examples of other formats end to end"
	OTELCOL_DCGM="$(CURDIR)/$(DCGM)" PHASEGEN="$(CURDIR)/$(PHASEGEN)" $(GO) test -tags e2e -count=1 -v ./test/examples/...

.PHONY: build-jaeger
build-jaeger: $(TRACED) ## Build bin/otelcol-jaeger, the collector of examples/jaeger
	@echo "==> $(TRACED) is up to date"

$(TRACED): examples/jaeger/builder-config.yaml go.mod go.sum tools/builder/go.mod $(SOURCES)
	@echo "==> building $@ from $<"
	@mkdir -p $(@D)
	$(BUILDER) --config $<
	@mv bin/.build-jaeger/$(@F) $@

bin/jaeger: tools/jaeger/go.mod
	@echo "==> building $@; takes minutes the first time"
	@mkdir -p $(@D)
	$(STATIC) -modfile=$< -o $@ github.com/jaegertracing/jaeger/cmd/jaeger

.PHONY: e2e-jaeger
e2e-jaeger: build-jaeger bin/jaeger ## Run examples/jaeger into a real Jaeger
	@echo "==> testing examples/jaeger end to end"
	OTELCOL_JAEGER="$(CURDIR)/$(TRACED)" JAEGER="$(CURDIR)/bin/jaeger" $(GO) test -tags e2e -count=1 -v ./test/jaeger/...

bin/promtool: tools/prometheus/go.mod
	@echo "==> building $@"
	@mkdir -p $(@D)
	$(STATIC) -modfile=$< -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/promtool

.PHONY: alerts-test
alerts-test: bin/promtool ## Check and test the alerts and recording rules with promtool
	@echo "==> testing deploy/prometheus"
	bin/promtool check rules --lint=all --lint-fatal deploy/prometheus/phase_attr.rules.yml
	bin/promtool test rules deploy/prometheus/phase_attr.rules_test.yml

# npm is the only tool that is not built from source: if missing, it is installed from Debian.
$(TYPES): test/dashboards/package-lock.json
	@echo "==> fetching Grafana's types and the TypeScript compiler"
	@command -v npm >/dev/null || { apt-get -q update && apt-get -qy install --no-install-recommends npm; }
	@rm -rf $@ bin/.grafana-types && mkdir -p bin/.grafana-types
	@cp test/dashboards/package.json test/dashboards/package-lock.json bin/.grafana-types
	@npm --prefix bin/.grafana-types ci --ignore-scripts --no-audit --no-fund
	@mv bin/.grafana-types $@

.PHONY: e2e-dashboards
e2e-dashboards: build-dcgm bin/prometheus $(TYPES) ## Check examples/grafana against Grafana's types and a real Prometheus
	@echo "==> testing examples/grafana"
	GRAFANA_TYPES="$(CURDIR)/$(TYPES)/node_modules" OTELCOL_DCGM="$(CURDIR)/$(DCGM)" PROMETHEUS="$(CURDIR)/bin/prometheus" \
	  $(GO) test -tags e2e -count=1 -v ./test/dashboards/...

.PHONY: lint
lint: ## Run golangci-lint; compiles it the first time
	@echo "==> linting"
	$(LINTER) run ./...
	cd benchmarks && $(GO) tool -modfile=../tools/golangci-lint/go.mod golangci-lint run -c ../.golangci.yaml ./...
	@for mod in $(MODULES) $(LINTED); do (cd $$mod && \
	  $(GO) tool -modfile=$(CURDIR)/tools/golangci-lint/go.mod golangci-lint run -c $(CURDIR)/.golangci.yaml ./...) || exit 1; done

.PHONY: generate
generate: ## Update the generated files and format the code
	@echo "==> generating the components' code and documentation"
	$(GO) generate ./...
	@echo "==> generating the schemas of the configurations"
	@for component in processor/phaseattrprocessor/internal/source $(COMPONENTS); do $(TOOL) schemagen -o $$component $$component || exit 1; done
	@echo "==> formatting"
	@chmod -R u+rwX,go+rX $(COMPONENTS)
	@find . -path ./bin -prune -o -name '*.go' -print0 | xargs -0 $(TOOL) goimports -w -local $(MODULE)
	@find . -path ./bin -prune -o -name '*.go' -print0 | xargs -0 $(TOOL) gofumpt -w -extra=group_params,clothe_returns

# Writes the working tree, including untracked files, as a git tree; the real index is not touched.
SNAPSHOT = mkdir -p bin && rm -f bin/.index && export GIT_INDEX_FILE=bin/.index && git add -A && git write-tree && rm -f bin/.index

.PHONY: check-generated
check-generated: ## Fail if generate changes anything
	@echo "==> checking that the generated files are up to date"
	@before=$$($(SNAPSHOT)) && $(MAKE) --no-print-directory generate && after=$$($(SNAPSHOT)) && \
	  { git diff --exit-code $$before $$after || { echo "run 'make generate' and commit the changes" >&2; exit 1; }; }

.PHONY: tidy-check
tidy-check: ## Fail if a go.mod or go.sum is not tidy
	@echo "==> checking that the modules are tidy"
	@find . -path ./bin -prune -o -name go.mod -print | sort | while read -r mod; do \
	  echo "$$mod"; (cd "$$(dirname "$$mod")" && $(GO) mod tidy -diff) || exit 1; done

# Custom resources have no schema of their own: it comes with the operators, from the module proxy.
PROMETHEUS_OPERATOR := github.com/prometheus-operator/prometheus-operator@v0.85.0
COLLECTOR_OPERATOR  := github.com/open-telemetry/opentelemetry-operator@v0.148.0
MODULE_DIR = $$($(GO) mod download -json $(1) | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')

.PHONY: manifests-check
manifests-check: ## Validate the Kubernetes manifests; compiles kubectl-validate the first time
	@echo "==> validating the manifests"
	@$(GO) tool -modfile=tools/manifests/go.mod kubectl-validate --version 1.30 \
	  --local-crds "$(call MODULE_DIR,$(PROMETHEUS_OPERATOR))/example/prometheus-operator-crd" \
	  --local-crds "$(call MODULE_DIR,$(COLLECTOR_OPERATOR))/config/crd/bases" \
	  deploy/kubernetes deploy/operator examples/dcgm/kubernetes

.PHONY: workflows-check
workflows-check: ## Lint the workflows of GitHub Actions
	@echo "==> linting the workflows"
	@$(TOOL) actionlint -no-color .github/workflows/*.yaml
	@grep -ohE '(make|target:) \[?[a-z][a-z0-9-]*(,? [a-z][a-z0-9-]*)*' .github/workflows/*.yaml | tr ' [,' '\n' | grep -vE '^(make|target:|)$$' | sort -u | \
	  while read -r target; do grep -q "^$$target:" Makefile || { echo "a workflow calls make $$target, which does not exist" >&2; exit 1; }; done

.PHONY: changelog-new
changelog-new: ## Add an entry to the changelog: NAME=short-name
	@$(CHLOG) new --config .chloggen/config.yaml --filename "$(NAME)"

.PHONY: changelog-check
changelog-check: ## Validate the entries of the changelog
	@echo "==> checking the changelog"
	@$(CHLOG) validate --config .chloggen/config.yaml

.PHONY: changelog
changelog: ## Preview the changelog of the next version
	@$(CHLOG) update --dry --config .chloggen/config.yaml

.PHONY: cross
cross: ## Compile everything for arm64
	@echo "==> compiling for arm64"
	GOARCH=arm64 $(GO) vet ./...
	@for mod in $(MODULES); do (cd $$mod && GOARCH=arm64 $(GO) vet ./...) || exit 1; done

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities; needs vuln.go.dev
	@echo "==> looking for known vulnerabilities"
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

.PHONY: compat
compat: ## Build and test the components with Collector v0.158 and with the newest; takes minutes
	@echo "==> testing with the oldest and the newest Collector"
	GO="$(GO)" tools/compat.sh $(COMPAT)

.PHONY: image
image: ## Write bin/otelcol-gateway.tar, an OCI image from scratch for amd64 and arm64
	@echo "==> building bin/otelcol-gateway.tar"
	GO="$(GO)" tools/dist.sh build $(VERSION) examples/gateway/builder-config.yaml bin/image $(ARCHITECTURES)
	cd tools/image && $(GO) run . -version $(VERSION) -out ../../bin/otelcol-gateway.tar ../../bin/image

.PHONY: image-push
image-push: ## Push bin/otelcol-gateway.tar to IMAGE, with the login of Docker
	cd tools/image && $(GO) run . -push $(IMAGE):$(VERSION) -out ../../bin/otelcol-gateway.tar

.PHONY: release
release: ## Write binaries, SBOMs and checksums for amd64 and arm64 to bin/release
	@echo "==> building bin/release"
	GO="$(GO)" tools/dist.sh release $(VERSION) $(ARCHITECTURES)

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (default 1m)
	@echo "==> fuzzing, $(FUZZTIME) each"
	@find . -path ./bin -prune -o -name '*_test.go' -print | sort | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | \
	while IFS=: read -r file func; do \
	  name=$${func#func }; echo "$$name in $$(dirname "$$file")"; \
	  (cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) </dev/null || exit 1; done

.PHONY: properties
properties: ## Run every property test CHECKS times (default 10000), not 100
	@echo "==> checking properties, $(CHECKS) times each"
	@grep -rl pgregory.net/rapid --include='*_test.go' cmd connector internal processor | xargs -n 1 dirname | sort -u | while read -r dir; do \
	  $(GO) test "./$$dir" -count=1 -timeout 0 -rapid.checks=$(CHECKS) </dev/null || exit 1; done

.PHONY: bench
bench: ## Run the benchmarks (BENCH=pattern, BENCHTIME=1s)
	@echo "==> benchmarking"
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 0 ./processor/... ./connector/...
	@cd recorder && $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./...

.PHONY: bench-peers
bench-peers: ## Compare the processor to its peers and to two bare calls; takes minutes
	@echo "==> measuring the peers"
	@cd benchmarks && $(RECORD) -section peers $(GO) run ./peers $(PEERS)
	@echo "==> measuring the sources"
	@cd benchmarks && $(RECORD) -section sources $(GO) run ./sources

# The base is measured by the benchmarks of this tree, which use nothing of it but its factory,
# on the jobs of this tree's phasegen.
.PHONY: bench-against
bench-against: ## Compare bench-peers of this tree with that of revision BASE in turn, RUNS times
	@test -n "$(BASE)" || { echo "set BASE to a revision" >&2; exit 2; }
	@echo "==> building the benchmarks on $(BASE) and on this tree"
	@rm -rf bin/base && mkdir -p bin/base
	@git archive -o bin/base.tar "$(BASE)" && tar -xf bin/base.tar -C bin/base && rm bin/base.tar
	@rm -rf bin/base/benchmarks bin/base/cmd && cp -R benchmarks cmd bin/base
	@cd bin/base/benchmarks && $(GO) build -o ../../peers-base ./peers
	@cd benchmarks && $(GO) build -o ../bin/peers ./peers
	@echo "==> measuring both $(RUNS) times"
	@cd benchmarks && $(GO) run ./against -runs $(RUNS) ../bin/peers-base ../bin/peers -gateway=false -rounds 7 $(PEERS)

.PHONY: bench-scaling
bench-scaling: ## Measure how the throughput grows with the cores, for all peers
	@echo "==> measuring on one core and on all"
	@cd benchmarks && $(RECORD) -section scaling $(GO) run ./peers -scaling $(PEERS)

.PHONY: bench-lookups
bench-lookups: ## Measure lookups by ranks, threads, depth and window
	@echo "==> measuring lookups"
	@cd benchmarks && $(RECORD) -section lookups $(GO) run ./lookups

.PHONY: bench-ingest
bench-ingest: ## Measure ingest against unmarshalling, and the heap; takes minutes
	@echo "==> measuring ingest"
	@cd benchmarks && $(RECORD) -section ingest $(GO) run ./ingest

.PHONY: bench-scale
bench-scale: ## Simulate up to 100,000 ranks in one process; takes minutes and 8 GiB
	@echo "==> simulating many ranks"
	@cd benchmarks && $(RECORD) -section scale $(GO) run ./scale

.PHONY: bench-captures
bench-captures: ## Measure resolving the records of recorded runs, against stormlog's replay
	@echo "==> resolving the recorded runs"
	@cd benchmarks && $(RECORD) -section captures $(GO) run ./captures

.PHONY: bench-collector
bench-collector: $(MEASURED) ## Compare the processors in a whole collector; the first time builds it
	@echo "==> measuring $(MEASURED)"
	@cd benchmarks && $(RECORD) -section collector $(GO) run ./collector -binary ../$(MEASURED)

$(MEASURED): benchmarks/collector/builder-config.yaml go.mod go.sum tools/builder/go.mod $(SOURCES)
	@echo "==> building $@ from $<"
	@mkdir -p $(@D)
	$(BUILDER) --config $<
	@mv bin/.build-bench/$(@F) $@

.PHONY: bench-smoke
bench-smoke: ## Vet and test the benchmarks
	@echo "==> checking the benchmarks"
	@cd benchmarks && $(GO) vet ./... && $(GO) test ./...

.PHONY: clean
clean: ## Remove build outputs
	@echo "==> removing bin"
	@rm -rf bin
