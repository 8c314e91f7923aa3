# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

MODULE    := github.com/phaseattr/phaseattr
COMPONENT := processor/phaseattrprocessor
COLLECTOR := bin/otelcol-phaseattr
DCGM      := bin/otelcol-dcgm
PHASEGEN  := bin/phasegen
TYPES     := bin/grafana-types
MEASURED  := bin/otelcol-bench

GO        ?= go
FUZZTIME  ?= 1m
BENCH     ?= .
BENCHTIME ?= 1s
KILLS     ?= 120
ROUNDS    ?= 64
PEERS     ?=
BASE      ?=
RUNS      ?= 5

# Tools are built from source at the versions pinned in their go.mod; nothing is installed.
TOOL    := $(GO) tool -modfile=tools/go.mod
BUILDER := $(GO) tool -modfile=tools/builder/go.mod builder
LINTER  := $(GO) tool -modfile=tools/golangci-lint/go.mod golangci-lint

# Runs a benchmark and writes its output to docs/performance.md.
RECORD := $(GO) run ./record

# The sources of the collector.
SOURCES := $(shell find processor -name '*.go' ! -name '*_test.go' 2>/dev/null)

# The modules beside the main one that users import, and their tests.
MODULES := recorder recorder/internal/sdktest test/recorder

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
	$(GO) test -race -shuffle=on ./...
	@for mod in $(MODULES); do (cd $$mod && $(GO) test -race -shuffle=on ./...) || exit 1; done

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

bin/prometheus: tools/prometheus/go.mod
	@echo "==> building $@"
	@mkdir -p $(@D)
	$(GO) build -modfile=$< -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/prometheus

.PHONY: e2e-dcgm
e2e-dcgm: build-dcgm bin/prometheus ## Run examples/dcgm into a real Prometheus
	@echo "==> testing examples/dcgm end to end"
	OTELCOL_DCGM="$(CURDIR)/$(DCGM)" PROMETHEUS="$(CURDIR)/bin/prometheus" $(GO) test -tags e2e -count=1 -v ./test/dcgm/...

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
	@for mod in $(MODULES); do (cd $$mod && \
	  $(GO) tool -modfile=$(CURDIR)/tools/golangci-lint/go.mod golangci-lint run -c $(CURDIR)/.golangci.yaml ./...) || exit 1; done

.PHONY: generate
generate: ## Update the generated files and format the code
	@echo "==> generating the component's code and documentation"
	$(GO) generate ./...
	@echo "==> generating the configuration's schema"
	$(TOOL) schemagen -o $(COMPONENT) $(COMPONENT)
	@echo "==> formatting"
	@chmod -R u+rwX,go+rX $(COMPONENT)
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

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (default 1m)
	@echo "==> fuzzing, $(FUZZTIME) each"
	@find . -path ./bin -prune -o -name '*_test.go' -print | sort | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | \
	while IFS=: read -r file func; do \
	  name=$${func#func }; echo "$$name in $$(dirname "$$file")"; \
	  (cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) </dev/null || exit 1; done

.PHONY: bench
bench: ## Run the benchmarks (BENCH=pattern, BENCHTIME=1s)
	@echo "==> benchmarking"
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./processor/...
	@cd recorder && $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./...

.PHONY: bench-peers
bench-peers: ## Compare the processor to its peers and to two bare calls; takes minutes
	@echo "==> measuring the peers"
	@cd benchmarks && $(RECORD) -section peers $(GO) run ./peers $(PEERS)

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
