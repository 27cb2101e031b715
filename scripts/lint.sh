#!/usr/bin/env bash
# Runs the linters, at the versions of tools/lint/go.mod. All of them run, also
# after one has found something.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0

# step runs a linter and says how long it took.
step() {
	local title=$1 start=$EPOCHREALTIME
	shift
	"$@" || status=1
	awk -v t="$title" -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "   %s: %.1f s\n", t, b - a }'
}

mkdir -p .tools/bin
go -C tools/lint build -buildvcs=false -o "$PWD/.tools/bin/berth-lint" .

step 'bodyclose, errcheck, exhaustive, ineffassign, wiretable' \
	go vet -vettool="$PWD/.tools/bin/berth-lint" ./...
step staticcheck go tool -modfile=tools/lint/go.mod staticcheck ./...
step unparam go tool -modfile=tools/lint/go.mod unparam -tests=false ./...
exit "$status"
