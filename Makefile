# `make help` lists the targets that are meant to be called.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

# Modules of ours besides the program's, and those of them that hold code.
MODULES := $(patsubst %/go.mod,%,$(wildcard tools/*/go.mod test/*/*/go.mod bench/go.mod bench/peers/*/go.mod))
CODE_MODULES := $(patsubst %/,%,$(sort $(foreach m,$(MODULES),$(dir $(wildcard $(m)/*.go)))))
header = @printf '\n=== %s\n' "$(1)"

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

.PHONY: build
build: ## build bin/berth
	CGO_ENABLED=0 go build -trimpath -o bin/berth ./cmd/berth

.PHONY: run
run: build ## build, and serve on 127.0.0.1:5000 with ./berth-data
	exec bin/berth serve --listen 127.0.0.1:5000 --data ./berth-data

.PHONY: test
test: deps check test-unit test-contract test-clients ## everything that CI does

.PHONY: check
check: check-format check-vet check-lint check-generated check-modules check-arch ## what needs no test: format, vet, lint, generated code, modules, imports

.PHONY: generate
generate: ## write the generated code and documents again
	go generate ./...
	go run ./tools/compatibility > docs/compatibility.md.new
	mv docs/compatibility.md.new docs/compatibility.md

.PHONY: clean
clean: ## remove what make made; not ./berth-data
	rm -rf bin .tools

.PHONY: deps
deps:
	$(call header,What the tests need: scripts/install-test-deps.sh)
	@scripts/install-test-deps.sh

.PHONY: check-format
check-format:
	$(call header,Format)
	@scripts/check-format.sh

.PHONY: check-vet
check-vet:
	$(call header,Vet)
	go vet ./...
	for module in $(CODE_MODULES); do go -C "$$module" vet ./...; done

.PHONY: check-lint
check-lint:
	$(call header,Lint)
	@scripts/lint.sh

.PHONY: check-generated
check-generated:
	$(call header,Generated code)
	@scripts/check-generated.sh

.PHONY: check-modules
check-modules:
	$(call header,Modules)
	go mod tidy -diff
	go mod verify
	for module in $(MODULES); do go -C "$$module" mod tidy -diff; done

.PHONY: check-arch
check-arch:
	$(call header,Imports and sizes)
	go test ./internal

# SQLite here is C that a machine has turned into Go. To watch its every access to
# memory takes most of the time of the tests and says nothing of our code; its locks
# are the standard library's, and stay watched.
RACE := -race -gcflags='modernc.org/...=-race=false'

# check-vet has looked at all of it, tests too. Without the directory in what is compiled, one clone
# can use what another has compiled.
export GOFLAGS := $(GOFLAGS) -vet=off -trimpath

# Tests wait, too, for programs, clocks, disks and retries: one package more than there
# are processors runs at a time.
AT_ONCE := -p $(shell expr $$(nproc) + 1)

# Nothing that a unit test writes has to survive, and a disk takes minutes to sync it all:
# it goes into memory where 4 GiB are left. Only how files are written is tried on a disk,
# which is stricter.
MEMORY := $(shell df -k --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 >= 4194304 { print "/dev/shm"; found = 1 } END { if (!found) print ENVIRON["TMPDIR"] ? ENVIRON["TMPDIR"] : "/tmp" }')

.PHONY: test-unit
test-unit: ## unit tests, with the race detector
	$(call header,Unit tests)
	tmp="$$(mktemp -d -p '$(MEMORY)' berth-unit-XXXXXX)"; trap 'rm -rf "$$tmp"' EXIT; GOTMPDIR="$${GOTMPDIR:-$${TMPDIR:-/tmp}}" TMPDIR="$$tmp" \
		go test $(RACE) -shuffle=on $(AT_ONCE) -timeout 30m $$(go list ./... | grep -v -e '/berth/test/' -e '/blobstore/fs$$')
	go test $(RACE) -shuffle=on -timeout 30m ./internal/infra/blobstore/fs
	for module in $(CODE_MODULES); do go -C "$$module" test -race -shuffle=on -timeout 30m ./...; done

# The suites from outside that take longest begin first, so that none of them is left over.
LONGEST := scanning/hostile hosts faults walkthrough gallery

# The suites that say nothing about a shape of storage of their own run on the
# embedded one and on the scale-out one here, and on the others in test-matrix.
SHAPED := aws oci identity lifecycle guides scanning
shaped = BERTH_TEST_SHAPE=$(1) go test -timeout 30m -run TestCrash ./test/crash & crash=$$!; status=0; \
	BERTH_TEST_SHAPE=$(1) go test -shuffle=on $(AT_ONCE) -timeout 30m $(SHAPED:%=./test/contract/%) || status=$$?; wait $$crash && exit $$status

.PHONY: test-contract
test-contract: ## suites and crashes from outside, against servers that they start
	$(call header,Contract tests)
	go test -shuffle=on $(AT_ONCE) -timeout 30m $(LONGEST:%=./test/contract/%) $$(go list ./test/... | grep -v '/test/contract/clients')
	$(call header,Contract tests: PostgreSQL and S3)
	$(call shaped,postgres+s3)

.PHONY: test-clients
test-clients: ## real clients against a server
	$(call header,Real clients: both shapes beside each other)
	BERTH_TEST_SHAPE=postgres+s3 go test -count=1 -timeout 30m ./test/contract/clients & other=$$!; status=0; \
		go test -count=1 -timeout 30m ./test/contract/clients || status=$$?; wait $$other && exit $$status

# The long forms, for before a release.

ROUNDS ?= 50

.PHONY: test-matrix
test-matrix: deps ## every suite on every shape of storage
	for shape in sqlite+files sqlite+s3 postgres+files postgres+s3; do \
		printf '\n=== %s\n' "$$shape"; \
		BERTH_TEST_SHAPE=$$shape go test -count=1 -shuffle=on -timeout 60m $(SHAPED:%=./test/contract/%) ./test/crash ./test/contract/clients; \
	done

.PHONY: crash
crash: ## kill the server ROUNDS times (50) while clients push; make test does 3
	$(call header,Crashes)
	go test -count=1 -timeout 0 -v ./test/crash -rounds $(ROUNDS)

.PHONY: clients-long
clients-long: ## real clients that take minutes to build: Helm
	$(call header,What the tests need: scripts/install-test-deps.sh --long)
	@scripts/install-test-deps.sh --long
	$(call header,Real clients that take minutes to build)
	go test -count=1 -timeout 30m ./test/contract/clientslong

.PHONY: queries
queries: ## write docs/queries.md: the plans of all queries with a million images
	scripts/queries.sh > docs/queries.md.new
	mv docs/queries.md.new docs/queries.md

.PHONY: big
big: ## a layer of 10 GiB in and out, with the server's memory measured
	$(call header,A layer of 10 GiB)
	go test -count=1 -timeout 60m -v -run 'TestBigLayer|TestManyPushes' ./test/contract/process -args -big
	$(call header,An image of 1 GiB between deployments that are killed)
	go test -count=1 -timeout 30m -v -run TestKillWhileSending ./test/contract/replication -args -big
	$(call header,A queue of 10,000 scans and tar bombs and a whole Debian)
	go test -count=1 -timeout 60m -v -run 'TestQueue|TestHostileLayers|TestDebian' ./test/contract/scanning/hostile -args -big

# Flags of the benchmark, such as BENCH='-run ^pull/ -clients 16 -out report.md'; BENCH=-help lists them.
BENCH ?=

.PHONY: bench
bench: deps build ## compare the speed with other registries'; BENCH='FLAGS'
	$(call header,What the benchmark needs: scripts/install-bench-peers.sh)
	@scripts/install-bench-peers.sh
	$(call header,Benchmark)
	go -C bench build -trimpath -o ../bin/berth-bench .
	bin/berth-bench -tools .tools/bench -berth bin/berth $(BENCH)

.PHONY: bench-quick
bench-quick: build ## compare the speed with the merge base's, or BASE=COMMIT's
	$(call header,Benchmark: this tree and the one before)
	@BASE='$(BASE)' scripts/bench-quick.sh $(BENCH)

.PHONY: bench-micro
bench-micro: ## compare the cores' Go benchmarks with the merge base's, or BASE=COMMIT's; BENCH='FLAGS PACKAGES'
	$(call header,Go benchmarks: this tree and the one before)
	@BASE='$(BASE)' scripts/bench-micro.sh $(BENCH)
