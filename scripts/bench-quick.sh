#!/usr/bin/env bash
# Compares the speed of bin/berth with that of the commit that the work began from, in
# the short form of the benchmark, and fails when it has become worse. It needs no other
# servers.
#
#   scripts/bench-quick.sh [FLAGS]             flags of bench/, such as -run ^push/
#   BASE=COMMIT scripts/bench-quick.sh         with a commit other than the merge base with origin/main
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

fail() { printf 'bench-quick: %s\n' "$*" >&2; exit 1; }

base=${BASE:-$(git merge-base HEAD origin/main)} || fail "there is no merge base with origin/main to compare with; give one with BASE=COMMIT"
commit=$(git rev-parse --verify --quiet "$base^{commit}") || fail "$base is no commit"
echo "== Berth of $(git log -1 --format='%h, %s' "$commit")"
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree"; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/tree" "$commit"
CGO_ENABLED=0 go -C "$work/tree" build -trimpath -o "$work/berth" ./cmd/berth
go -C bench build -trimpath -o "$root/bin/berth-bench" .
echo "== The short benchmark"
bin/berth-bench -quick -berth bin/berth -base "$work/berth" "$@"
