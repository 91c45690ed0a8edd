# Davit's inner loop. `make help` lists what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO      ?= go
# A tag names a release; all else is on the way to the next one.
VERSION ?= $(or $(patsubst v%,%,$(shell git describe --tags --exact-match 2>/dev/null)),0.1.0-dev)
COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null)
# The commit's time, not the clock's: the same source gives the same binaries.
STAMP   ?= $(shell git log -1 --format=%cI 2>/dev/null)
PREFIX  ?= /usr/local
DESTDIR ?=
UNITDIR ?= $(PREFIX)/lib/systemd/system

# Static, and not position independent: a davit-shim built with -buildmode=pie starts 0.4 ms later.
MODULE  := github.com/davit-engine/davit
LDFLAGS := -s -w -X $(MODULE)/version.Version=$(VERSION) -X $(MODULE)/version.Commit=$(COMMIT) -X $(MODULE)/version.Time=$(STAMP) \
           -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.buildTime=$(STAMP)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the static binaries into bin/
	@mkdir -p bin
	$(BUILD) -o bin/ ./cmd/...
	@ln -sf davit-shim bin/davit-runtime

.PHONY: setup
setup: ## install the Debian packages that the tests need
	@scripts/setup.sh

.PHONY: demo
demo: build ## run hello-world on a private engine and registry, offline; ROOT=dir to choose where
	@scripts/demo.sh $(ROOT)

.PHONY: test
test: ## set up, build, check, run every test, and look for leftovers
	@scripts/test.sh

.PHONY: vmtest
vmtest: ## the runtime's tests in a virtual machine with cgroup v2 alone: VMTEST='-run X ./runtime/spawn'
	@scripts/vmtest.sh $(VMTEST)

.PHONY: oci
oci: build ## the validation suite of OCI runtimes, with Debian's runc beside: OCI='-v -run mounts'
	@scripts/oci.sh $(OCI)

.PHONY: peers
peers: build ## containers with davit-runtime under Debian's podman, containerd and docker.io: PEERS='-run Podman'
	@scripts/peers.sh $(PEERS)

.PHONY: chaos
chaos: build ## eight clients while the engine is killed again and again: CHAOS=10m for how long
	DAVIT_BIN=$(CURDIR)/bin DAVIT_CHAOS=$(or $(CHAOS),10m) $(GO) test -count=1 -v -timeout 0 -run TestStorm ./test/chaos

.PHONY: check
check: ## gofmt, go vet, staticcheck, shell syntax, and the rules of test/deps
	@scripts/check.sh

.PHONY: fmt
fmt: ## format the Go code
	@gofmt -l -w $$(git ls-files '*.go')

.PHONY: up
up: build ## start a private engine and registry: make up ROOT=dir
	@scripts/up.sh "$(ROOT)"

.PHONY: down
down: ## stop the engine that lives in a folder, and what it runs: make down ROOT=dir
	@scripts/down.sh "$(ROOT)"

.PHONY: bench
bench: build ## measure beside the bound and other engines; BENCH='-only starts' for flags
	@$(GO) run ./bench $(BENCH)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (default 20s)
	@scripts/fuzz.sh

.PHONY: install
install: build ## install binaries and systemd units: PREFIX=/usr/local DESTDIR=
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR)
	for b in $(notdir $(wildcard cmd/*)); do install -m 0755 bin/$$b $(DESTDIR)$(PREFIX)/bin/$$b; done
	ln -sf davit-shim $(DESTDIR)$(PREFIX)/bin/davit-runtime
	for u in contrib/*.service contrib/*.socket; do \
	  [ -e "$$u" ] || continue; \
	  sed 's|/usr/local/bin|$(PREFIX)/bin|g' "$$u" > $(DESTDIR)$(UNITDIR)/$${u##*/}; \
	done

.PHONY: uninstall
uninstall: ## remove what install put there; images and containers stay
	for b in $(notdir $(wildcard cmd/*)) davit-runtime; do rm -f $(DESTDIR)$(PREFIX)/bin/$$b; done
	for u in contrib/*.service contrib/*.socket; do rm -f $(DESTDIR)$(UNITDIR)/$${u##*/}; done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
