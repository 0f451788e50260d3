# The house's commands; `make help` lists them; `make test PKG=./push/...` tests a part. Tools are pinned in .ci/go.mod and built into .build.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZ    ?= 10s
PKG     ?= ./...

.PHONY: help test model lint bench soak fuzz build needs clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# gotestsum's summary comes last, after the times: scripts read the end.
test: needs .build/gotestsum .build/report ## all tests with the race detector, then times per package; CI=true: skipping is failing
	@rm -f .build/test.json .build/summary; status=0; \
	$(if $(filter ./...,$(PKG)),$(MAKE) --no-print-directory model || status=1;) \
	.build/gotestsum --format pkgname --hide-summary skipped --jsonfile .build/test.json -- -race $(if $(filter true,$(CI)),-count=1) $(TESTFLAGS) $(PKG) \
		| awk '/^=== (Skipped|Failed|Errors)|^DONE/ { end = 1 } end { print > ".build/summary"; next } { print; fflush() }' \
		|| status=$$?; \
	.build/report $(if $(filter true,$(CI)),-no-skips) .build/test.json || status=1; \
	echo; cat .build/summary; \
	exit $$status

# Without the race detector, under which it makes 10,000 of them: it would take 10 min.
model: ## 100,000 random steps of the whole server in virtual time; a part of make test
	@$(GO) test -count=1 -run 'TestModel$$' ./cmd/internal/e2e/model

lint: .build/golangci-lint ## golangci-lint as .golangci.yml says, and the tools' own tests
	@.build/golangci-lint run $(PKG)
	@cd .ci && $(GO) vet ./... && $(GO) test ./...

bench: ## benchmarks, with allocations; WHAT=media: the relay's processes against a C loop (RELAY_RUNS=5)
ifeq ($(WHAT),media)
	@$(GO) test -run '^$$' -bench Relay -benchtime 1x -timeout 0 ./bridge/media/relay
else
	@$(GO) test -run '^$$' -bench . -benchmem $(PKG)
endif

soak: ## long tests (TestSoak..., build tag soak)
	@[ -n "$$($(GO) test -tags soak -list Soak ./... | grep Soak)" ] || { echo 'no soak tests yet' >&2; exit 1; }
	@$(GO) test -tags soak -run Soak -timeout 0 -v ./...

fuzz: ## each fuzz target for FUZZ=10s
	@.ci/fuzz $(FUZZ)

build: ## bin/wakebridge: static, without paths, with its version
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/wakebridge ./cmd/wakebridge
	@echo bin/wakebridge $(VERSION)

needs: ## install or name the programs that the tests talk to
	@.ci/needs

clean: ## remove what was built
	@rm -rf .build bin

.build/golangci-lint: .ci/go.mod
	@cd .ci && $(GO) build -o ../.build/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.build/gotestsum: .ci/go.mod
	@cd .ci && $(GO) build -o ../.build/ gotest.tools/gotestsum

.build/report: .ci/go.mod $(wildcard .ci/report/*.go)
	@cd .ci && $(GO) build -o ../.build/ ./report
