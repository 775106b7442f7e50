# Every target works from a fresh clone with nothing but Go. Tools are built once,
# by version, into .bin.

MODULES := . eventsource/messaging/messagingamqp eventsource/messaging/messagingkafka internal/bench internal/verify examples/engines

GOFUMPT     := v0.12.0
STATICCHECK := v0.8.2
GOLANGCI    := v2.15.0
BIN         := $(CURDIR)/.bin

.PHONY: test check bench bench-peers fuzz soak soak-cache soak-redis soak-shop shop-check shop-screenshots tools tidy

# The race detector needs a C compiler. Where there is none (Go then reports
# CGO_ENABLED=0) the tests run all the same, without it; .ci/run installs one.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

## test: every test of every module; engines that are not installed are skipped by name
test:
	@test -n "$(RACE)" || echo "no C compiler found: testing without the race detector"
	go test $(RACE) -shuffle=on -timeout 40m work
	GOWORK=off go test $(RACE) -timeout 15m ./cache/cacheredis # with the lowest go-redis that it requires

## check: formatting, vet, linters, go fix and go mod tidy, all without changing a file
check: tools
	@out=$$($(BIN)/gofumpt-$(GOFUMPT) -l . 2>&1); test -z "$$out" || { echo "gofumpt would change:"; echo "$$out"; exit 1; }
	go vet work
	@set -e; for m in $(MODULES); do echo "check $$m"; ( cd $$m; \
		$(BIN)/staticcheck-$(STATICCHECK) ./...; \
		$(BIN)/golangci-lint-$(GOLANGCI) run --allow-parallel-runners --config $(CURDIR)/.golangci.yaml ./...; \
		out=$$(go fix -diff ./... 2>&1) || true; test -z "$$out" || { echo "go fix would change:"; echo "$$out"; exit 1; }; \
		GOWORK=off go mod tidy -diff ); done

## bench: the smoke run: allocation ceilings and ratios to the peers on small workloads, some minutes
bench:
	cd internal/bench && go run . -smoke -cpu 2

## bench-peers: the full tables of BENCHMARKS.md and the benchstat files beside them, on a quiet machine
bench-peers:
	cd internal/bench && go run . -count 11 -out results

## fuzz: each fuzz target for FUZZTIME (1m)
FUZZTIME ?= 1m
fuzz:
	@set -e; for d in $$(go list -f '{{.Dir}}' work); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$d/*_test.go 2>/dev/null | cut -c6-); do \
			echo "fuzz $$d $$f"; ( cd $$d; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) . ); done; done

## soak: everything ten times over, in shuffled order, as the bar for a release
soak:
	KEELSON_SOAK=1 go test $(RACE) -shuffle=on -count=10 -timeout 120m work

## soak-cache: linearizability of the cache for CACHETIME (10m), and CACHESEEDS (20000) simulated clusters
CACHETIME  ?= 10m
CACHESEEDS ?= 20000
soak-cache:
	cd internal/verify && KEELSON_CACHE_SOAK=$(CACHETIME) KEELSON_CACHE_SEEDS=$(CACHESEEDS) go test $(RACE) -timeout 60m ./cache/
## soak-redis: the cache under random faults of real Redis servers for SOAK_SECONDS (60), and that long of linearizability
SOAK_SECONDS ?= 60
soak-redis:
	cd internal/verify && KEELSON_ENGINES=required KEELSON_SOAK_SECONDS=$(SOAK_SECONDS) go test $(RACE) -v -run 'TestSoak|TestAcknowledged' -timeout 60m ./cacheredis

## shop-check: every scenario of the shop in fake time, with SEEDS seeds (20) each, eight
## minutes of one core; SIGKILL of every process at every step of an order, two minutes;
## and every service restarted under load, each in a process of its own
SEEDS ?= 20
shop-check:
	KEELSON_SEEDS=$(SEEDS) go test -count=1 -run 'TestScenarios|TestEverySabotage|TestSabotaged' -v -timeout 60m ./examples/internal/shop/scenario
	KEELSON_CRASHES=all go test -count=1 -run 'TestACrash' -v -timeout 30m ./examples/shop
	go run ./examples/shop -check -procs -scenario rolling-restart

## soak-shop: the shop under load for SHOPTIME (10m): goroutines, memory and rings at the end
SHOPTIME ?= 10m
soak-shop:
	KEELSON_SHOP_SOAK=$(SHOPTIME) go test -count=1 -run 'TestSoak$$' -v -timeout 24h ./examples/shop

## shop-screenshots: the pictures of the READMEs, taken by Chromium
shop-screenshots:
	cd examples/engines && KEELSON_SCREENSHOTS=$(CURDIR)/examples/shop go test -count=1 -run TestScreenshots ./page

## tidy: go mod tidy in every module
tidy:
	@set -e; for m in $(MODULES); do ( cd $$m; GOWORK=off go mod tidy ); done

tools: $(BIN)/gofumpt-$(GOFUMPT) $(BIN)/staticcheck-$(STATICCHECK) $(BIN)/golangci-lint-$(GOLANGCI)

$(BIN)/gofumpt-$(GOFUMPT):
	$(call install,mvdan.cc/gofumpt@$(GOFUMPT),gofumpt,$@)
$(BIN)/staticcheck-$(STATICCHECK):
	$(call install,honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK),staticcheck,$@)
$(BIN)/golangci-lint-$(GOLANGCI):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI),golangci-lint,$@)

# install builds $1 into .bin and gives the binary $2 the name $3, which holds its version.
define install
	@mkdir -p $(BIN)
	GOBIN=$(BIN) go install $(1)
	@mv $(BIN)/$(2) $(3)
endef
