#!/bin/bash
# Everything that must be true before a change lands; called by "make test".
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }

step "generated code, formatting, vet, staticcheck, contract"
make --no-print-directory verify

step "portal unit tests"
(cd server/portal/web && npm run --silent test)

step "race detector where goroutines meet"
CGO_ENABLED=1 go test -race -count=1 ./endpoint/... ./server/gateway/... ./server/bus/... ./tenants/tenantdb/... ./server/tasks/...

step "endpoint for the other platforms"
GOOS=windows GOARCH=amd64 go build -o /dev/null ./endpoint
GOOS=darwin GOARCH=arm64 go build -o /dev/null ./endpoint

step "all Go tests"
$REEVE_GOTESTSUM --format pkgname-and-test-fails --packages ./... -- -count=1 -timeout 20m
