# Everything that can be run. `make check` is what CI calls.
SHELL      := /bin/bash
GO         ?= go
TOOLS      := $(CURDIR)/.tools
STATICCHECK_VERSION := v0.8.2
ACTIONLINT_VERSION  := v1.7.12
ACT_VERSION         := v0.2.89
FULCIO_VERSION      := v1.8.8
TSA_VERSION         := v2.1.3
REKOR_VERSION       := v2.3.0
COSIGN_VERSION      := v3.1.3
GH_VERSION          := v2.95.0
SLSA_VERSION        := v2.7.1
REKOR_V1_VERSION    := v1.5.4
TRILLIAN_VERSION    := v1.7.3
OPA_VERSION         := v1.22.3
POLICY_VERSION      := v0.13.1
NPM_SIGSTORE        := 4.1.3
PLAYWRIGHT          := 1.56.1
AXE                 := 4.11.0
export PATH := $(TOOLS)/bin:$(PATH)

# Packages whose tests need root and the real kernel run one after the other:
# they share its process events.
KERNEL := ./pkg/sensor/... ./pkg/monitor/... ./pkg/seal/... ./pkg/barrier/... ./pkg/probe/... ./cmd/... ./test/action/... ./test/bench/... ./test/corpus/... ./test/docker/... ./test/e2e/... ./test/examples/... ./test/layout/... ./test/rig/... ./test/runnersim/...
PURE    = $(filter-out $(shell $(GO) list $(KERNEL) ./test/...),$(shell $(GO) list ./...))

# What runs at the same time; make check tests it under the race detector alone.
RACED := ./pkg/monitor/... ./pkg/evidence/... ./pkg/seal/... ./pkg/barrier/... ./pkg/sensor/... ./pkg/witness/...

.PHONY: all build test evasion agents agents-tries agents-time corpus tries machines kernels lint race short-long check ordeal bench soak fuzz tools sigstore thirdparty rekor-v1 bpf warden hook clean

all: build

build: ## the command, as a user builds it
	CGO_ENABLED=0 $(GO) build -trimpath ./cmd/edamame-posture

test: lint ## every test; half an hour on 2 cores, ten minutes is the aim
	$(GO) test $(if $(LATER),$(filter-out $(shell $(GO) list $(LATER)),$(PURE)),$(PURE))
	$(GO) test -timeout 30m -p 1 $(filter-out $(LATER),$(KERNEL))
	$(GO) test ./test/sigstore ./test/thirdparty

machines: ## the verdicts of stored evidence on other processors, by qemu's user emulation
	$(GO) test ./test/machines/...

kernels: ## kernels of Debian's releases under qemu, also for arm64; writes docs/kernels.md; half an hour
	$(GO) run ./test/kernels -out docs/kernels.md

evasion: ## every way of doing it unseen that we know of, for real
	$(GO) test ./test/evasion/...

RUNS ?= 1
corpus: ## attacks and ordinary jobs under the monitor; writes test/CORPUS.md; RUNS=5 does each ordinary job five times
	$(GO) run ./test/corpus -runs $(RUNS) -out test/CORPUS.md

tries: ## the published agent incident 25 times; each must be found
	$(GO) build -o $(TOOLS)/bin/corpus ./test/corpus
	@for i in $$(seq 25); do $(TOOLS)/bin/corpus -only '^agent-told-to-read$$' -sensor ebpf || exit 1; done

race: ## what runs at the same time, under the race detector
	$(GO) test -timeout 30m -p 1 -race -skip InNoMemoryOfOurs $(RACED)
	$(GO) test -run InNoMemoryOfOurs ./pkg/seal
	$(GO) test -race -run 'Golden|Recorded|Scenes' ./pkg/judge

lint: ## formatting, vet, staticcheck, actionlint, the BPF objects as the pinned clang makes them, the warden and the hook as the pinned Go does
	@test -z "$$(gofmt -l cmd pkg policies test)" || { echo "gofmt: run gofmt -w on:"; gofmt -l cmd pkg policies test; exit 1; }
	$(GO) vet ./...
	$(TOOLS)/bin/staticcheck ./...
	$(TOOLS)/bin/actionlint -shellcheck= -pyflakes=
	bash pkg/sensor/ebpf/bpf/rebuild.sh --check
	bash cmd/edamame-warden/rebuild.sh --check
	bash cmd/edamame-hook/rebuild.sh --check

short-long: ## short forms of the long runs
	$(GO) run ./test/bench -short
	$(GO) test -short -timeout 20m ./test/agents/...
	$(GO) test ./test/kernels
	$(MAKE) soak SOAK=1m
	$(MAKE) fuzz FUZZTIME=1000x

check: tools ## what the README names and CI runs; about an hour on 2 cores, 45 minutes is the aim
	$(MAKE) test LATER="$(RACED)"
	$(MAKE) race evasion corpus machines short-long

ordeal: ## the long form of the tests of sealing: the monitor killed 200 times, root taken 200 times, memory searched after 1,000 signatures; wants a quiet machine
	POSTURE_KILLS=200 POSTURE_TAKEOVERS=200 $(GO) test -count=1 -timeout 60m -v -run 'KilledAtAnyMoment|WhoeverTakesRoot' ./test/e2e
	POSTURE_SIGNATURES=1000 $(GO) test -count=1 -timeout 60m -v -run InNoMemoryOfOurs ./pkg/seal

bench: build ## writes test/bench/RESULTS.md; needs root and a quiet machine
	$(GO) run ./test/bench -out test/bench/RESULTS.md

SOAK ?= 1h
soak: ## watches mixed load for SOAK (1h) and fails where the monitor's memory, descriptors, maps, uprobes or goroutines grow; an hour writes test/bench/SOAK.md
	$(GO) build -o $(TOOLS)/bin/soak ./test/soak
	$(TOOLS)/bin/soak -for $(SOAK) $(if $(filter 1h,$(SOAK)),-out test/bench/SOAK.md)

# In the short form runs are counted, not seconds: at the end of a time, go test
# now and then takes its own deadline for a failure.
FUZZTIME ?= 60s
# Each package's tests are built once: with go test -fuzz they are linked for
# each target again, which takes longer than the targets run.
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; fuzzed="$$(mktemp -d)"; trap 'rm -rf "$$fuzzed"' EXIT; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd pkg test | xargs -n1 dirname | sort -u); do \
	  $(GO) test -c -fuzz=. -o "$$fuzzed/test" "./$$dir"; \
	  for f in $$(cd $$dir && "$$fuzzed/test" -test.list '^Fuzz'); do \
	    echo "$$dir $$f"; (cd $$dir && "$$fuzzed/test" -test.run '^$$' -test.fuzz "^$$f$$" -test.fuzztime $(FUZZTIME) \
	      -test.fuzzminimizetime 1x -test.fuzzcachedir "$$fuzzed/cache"); done; done

tools: $(TOOLS)/bin/staticcheck-$(STATICCHECK_VERSION) $(TOOLS)/bin/actionlint-$(ACTIONLINT_VERSION) $(TOOLS)/bin/act-$(ACT_VERSION) sigstore $(TOOLS)/npm-sigstore/verify-v$(NPM_SIGSTORE) $(TOOLS)/npm-report/v$(PLAYWRIGHT)-$(AXE) ## third-party programs that tests use, kept by version

$(TOOLS)/bin/staticcheck-$(STATICCHECK_VERSION):
	GOBIN=$(TOOLS)/bin $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	touch $@

$(TOOLS)/bin/actionlint-$(ACTIONLINT_VERSION):
	GOBIN=$(TOOLS)/bin $(GO) install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)
	touch $@

$(TOOLS)/bin/act-$(ACT_VERSION):
	GOBIN=$(TOOLS)/bin $(GO) install github.com/nektos/act@$(ACT_VERSION)
	touch $@

SIGSTORE := fulcio-$(FULCIO_VERSION) timestamp-server-$(TSA_VERSION) rekor-posix-$(REKOR_VERSION)
sigstore: $(SIGSTORE:%=$(TOOLS)/bin/%) ## the servers of test/sigstore; 4 minutes cold

# Built aside and renamed, so that a build that was broken off leaves nothing.
$(TOOLS)/bin/fulcio-$(FULCIO_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/sigstore/fulcio@$(FULCIO_VERSION)
	mv $(TOOLS)/bin/new/fulcio $@

$(TOOLS)/bin/timestamp-server-$(TSA_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@$(TSA_VERSION)
	mv $(TOOLS)/bin/new/timestamp-server $@

$(TOOLS)/bin/rekor-posix-$(REKOR_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@$(REKOR_VERSION)
	mv $(TOOLS)/bin/new/posix $@

$(TOOLS)/npm-sigstore/verify-v$(NPM_SIGSTORE):
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --no-save --prefix $(@D) \
	  @sigstore/verify@$(NPM_SIGSTORE) @sigstore/bundle@5.0.1 @sigstore/protobuf-specs@0.5.2 && touch $@; fi

# They drive Debian's Chromium through the HTML report.
$(TOOLS)/npm-report/v$(PLAYWRIGHT)-$(AXE):
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --no-save --prefix $(@D) \
	  playwright-core@$(PLAYWRIGHT) axe-core@$(AXE) && touch $@; fi

thirdparty: tools $(TOOLS)/bin/cosign-$(COSIGN_VERSION) $(TOOLS)/bin/gh-$(GH_VERSION) $(TOOLS)/bin/slsa-verifier-$(SLSA_VERSION) $(TOOLS)/bin/opa-$(OPA_VERSION) $(TOOLS)/bin/policy-tester-$(POLICY_VERSION) ## what other programs accept of ours and we of theirs, with cosign, gh, slsa-verifier, OPA and policy-controller's tester built: 15 minutes more, 3 GB
	$(GO) test -count=1 ./test/thirdparty

REKOR_V1 := rekor-server-$(REKOR_V1_VERSION) trillian_log_server-$(TRILLIAN_VERSION) trillian_log_signer-$(TRILLIAN_VERSION) trillian-$(TRILLIAN_VERSION).sql
rekor-v1: sigstore $(REKOR_V1:%=$(TOOLS)/bin/%) ## first records in a real Rekor v1, on Trillian and Debian's mariadb-server; 5 minutes cold
	$(GO) test -count=1 -run RealRekorV1 ./pkg/gate

$(TOOLS)/bin/rekor-server-$(REKOR_V1_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/sigstore/rekor/cmd/rekor-server@$(REKOR_V1_VERSION)
	mv $(TOOLS)/bin/new/rekor-server $@

$(TOOLS)/bin/trillian_log_%-$(TRILLIAN_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/google/trillian/cmd/trillian_log_$*@$(TRILLIAN_VERSION)
	mv $(TOOLS)/bin/new/trillian_log_$* $@

$(TOOLS)/bin/trillian-$(TRILLIAN_VERSION).sql:
	mkdir -p $(@D)
	cat "$$($(GO) mod download -json github.com/google/trillian@$(TRILLIAN_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/storage/mysql/schema/storage.sql" > $@

$(TOOLS)/bin/cosign-$(COSIGN_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/sigstore/cosign/v3/cmd/cosign@$(COSIGN_VERSION)
	mv $(TOOLS)/bin/new/cosign $@

$(TOOLS)/bin/opa-$(OPA_VERSION):
	GOBIN=$(TOOLS)/bin/new $(GO) install github.com/open-policy-agent/opa@$(OPA_VERSION)
	mv $(TOOLS)/bin/new/opa $@

# Its module replaces others, which go install refuses.
$(TOOLS)/bin/policy-tester-$(POLICY_VERSION):
	rm -rf $(TOOLS)/src/policy-controller && mkdir -p $(TOOLS)/src
	cp -r "$$($(GO) mod download -json github.com/sigstore/policy-controller@$(POLICY_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" $(TOOLS)/src/policy-controller
	chmod -R u+w $(TOOLS)/src/policy-controller
	cd $(TOOLS)/src/policy-controller && $(GO) build -mod=mod -o $@ ./cmd/tester

# go install looks for a deprecation list, which is not to be had everywhere.
$(TOOLS)/bin/gh-$(GH_VERSION):
	rm -rf $(TOOLS)/src/gh && mkdir -p $(TOOLS)/src/gh
	cd $(TOOLS)/src/gh && $(GO) mod init gh && $(GO) mod edit -require github.com/cli/cli/v2@$(GH_VERSION) && \
	  $(GO) build -mod=mod -o $@ github.com/cli/cli/v2/cmd/gh

$(TOOLS)/bin/slsa-verifier-$(SLSA_VERSION):
	rm -rf $(TOOLS)/src/slsa && mkdir -p $(TOOLS)/src/slsa
	cd $(TOOLS)/src/slsa && $(GO) mod init slsa && $(GO) mod edit -require github.com/slsa-framework/slsa-verifier/v2@$(SLSA_VERSION) && \
	  $(GO) build -mod=mod -o $@ github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier

bpf: ## rebuild the BPF objects
	bash pkg/sensor/ebpf/bpf/rebuild.sh

warden: ## rebuild the small program that holds keys and stands before sudo
	bash cmd/edamame-warden/rebuild.sh

hook: ## rebuild the small program that agents' hooks call
	bash cmd/edamame-hook/rebuild.sh

agents: ## real coding agents from npm (1.1 GB), with a model on loopback; POSTURE_AGENTS=copilot,gemini for all sessions of these
	$(GO) test -timeout 60m ./test/agents/...

TRIES ?= 25
agents-tries: ## a credential that an agent's call sends away, TRIES times by a made agent and by Claude Code and Codex; each must be found
	POSTURE_TRIES=$(TRIES) $(GO) test -count=1 -timeout 60m -run ACredentialThatACallSendsAway ./test/e2e
	POSTURE_TRIES=$(TRIES) $(GO) test -count=1 -timeout 60m -run PublishedIncidentIsFoundInEachTry ./test/agents

PAIRS ?= 12
agents-time: ## how much longer an agent's own work takes with its hooks under the monitor, in PAIRS of runs; wants a quiet machine
	POSTURE_PAIRS=$(PAIRS) $(GO) test -count=1 -timeout 60m -v -run AgentsOwnTime ./test/agents

clean:
	rm -rf edamame-posture $(TOOLS)
