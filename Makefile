# Reeve. "make help" lists the targets; "make run" and "make test" are all a new machine needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What the machine needs beside Go, Node, npm, git and make: Debian package names, installed by
# deploy/packages.sh (or named, where it may not install).
RUN_PACKAGES  := postgresql restic
TEST_PACKAGES := $(RUN_PACKAGES) chromium

GO_MIN   := 1.26
NODE_MIN := 20.19

# Pinned tools, run without installing anything.
OAPI_CODEGEN := go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
STATICCHECK  := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM    := go run gotest.tools/gotestsum@v1.13.0
REDOCLY      := REDOCLY_TELEMETRY=off npx --yes @redocly/cli@2.77.0

WEB     := server/portal/web
BIN     := bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X reeve/server/app.version=$(VERSION) -X reeve/server/app.commit=$(COMMIT)
ENDPOINT_LDFLAGS := -s -w -X main.version=$(VERSION)
PLATFORMS := linux-amd64 linux-arm64 windows-amd64 windows-arm64 darwin-amd64 darwin-arm64
PORTAL_SOURCES := $(shell find $(WEB) -type f -not -path '*/node_modules/*' 2>/dev/null)

export CGO_ENABLED ?= 0
export REEVE_DATA_DIR ?= $(CURDIR)/var

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: run
run: tools run-packages build ## Build everything and run it: server, private database, portal, this machine as the first device
	@REEVE_LOG_LEVEL=$${REEVE_LOG_LEVEL:-warn} exec $(BIN)/reeve-server serve --first-device $(BIN)/reeve-endpoint --endpoint-dir $(BIN)/endpoints

.PHONY: tools
tools:
	@deploy/check-tools.sh $(GO_MIN) $(NODE_MIN)

.PHONY: run-packages
run-packages:
	@deploy/packages.sh $(RUN_PACKAGES)

.PHONY: test-packages
test-packages:
	@deploy/packages.sh $(TEST_PACKAGES)

.PHONY: build
build: portal server endpoint ## Build portal, server and endpoint into bin/

.PHONY: server
server: portal
	go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/reeve-server ./server

.PHONY: endpoint
endpoint:
	go build -trimpath -ldflags '$(ENDPOINT_LDFLAGS)' -o $(BIN)/reeve-endpoint ./endpoint
	@mkdir -p $(BIN)/endpoints
	ln -f $(BIN)/reeve-endpoint $(BIN)/endpoints/reeve-endpoint-$$(go env GOOS)-$$(go env GOARCH)

.PHONY: endpoints
endpoints: ## Build the endpoint for every platform into bin/endpoints, from where the server offers it
	@mkdir -p $(BIN)/endpoints
	@for p in $(PLATFORMS); do \
	  os=$${p%-*} arch=$${p#*-} suffix=; [ $$os = windows ] && suffix=.exe; \
	  echo "reeve-endpoint-$$p$$suffix"; \
	  GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '$(ENDPOINT_LDFLAGS)' -o $(BIN)/endpoints/reeve-endpoint-$$p$$suffix ./endpoint; \
	done

.PHONY: portal
portal: server/portal/dist/index.html ## Build the portal

$(WEB)/node_modules/.package-lock.json: $(WEB)/package.json $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

server/portal/dist/index.html: $(WEB)/node_modules/.package-lock.json $(PORTAL_SOURCES)
	cd $(WEB) && npm run --silent build

.PHONY: generate
generate: $(WEB)/node_modules/.package-lock.json ## Generate models, client, server interface and portal types from openapi.yaml
	for c in api api/client server/rest; do $(OAPI_CODEGEN) -config $$c/oapi-codegen.yaml openapi.yaml; done
	cp openapi.yaml server/rest/openapi.gen.yaml
	cd $(WEB) && npm run --silent types

.PHONY: test
test: tools test-packages portal ## Everything: verify, unit, database, end-to-end and browser tests
	@REEVE_GOTESTSUM='$(GOTESTSUM)' deploy/test.sh

.PHONY: verify
verify: verify-generated lint ## Generated code is current, formatting, vet, staticcheck, contract lint

.PHONY: verify-generated
verify-generated: generate
	@git diff --exit-code --stat -- api server/rest $(WEB)/src/api || { echo "generated code is not current: run make generate and commit"; exit 1; }

.PHONY: lint
lint: ## Formatting, vet for every platform, staticcheck, contract lint
	@out=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	for os in windows darwin; do GOOS=$$os go vet ./endpoint/...; done
	$(STATICCHECK) -checks inherit,-ST1001,-ST1005 ./... # dot imports and capitals are what the generated server wants
	$(REDOCLY) lint --config deploy/redocly.yaml openapi.yaml
	cd $(WEB) && npm run --silent typecheck

.PHONY: bench
bench: tools run-packages ## Print the figures of the product as ratios to the limits of this machine
	go test -tags bench -count=1 -timeout 20m -run '^TestBench$$' -v ./server/app

.PHONY: faults
faults: tools run-packages ## Kill, cut and corrupt at random, and count what was lost
	go test -tags faults -count=1 -timeout 60m -run 'Fault' -v ./server/...

.PHONY: fuzz
fuzz: tools run-packages ## Fuzz everything that parses foreign input, a minute each (FUZZTIME=…)
	@deploy/fuzz.sh $${FUZZTIME:-60s}

.PHONY: clean
clean: ## Remove what was built (not the data folder)
	rm -rf $(BIN) $(WEB)/node_modules
	find server/portal/dist -mindepth 1 -not -name .gitkeep -delete
