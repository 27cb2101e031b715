#!/usr/bin/env bash
# Fails when a Go file is not formatted, and says which.
set -euo pipefail
cd "$(dirname "$0")/.."
wrong=$(git ls-files -z --cached --others --exclude-standard -- '*.go' | while IFS= read -r -d '' file; do
	if [[ -f $file ]]; then printf '%s\0' "$file"; fi
done | xargs -0 -r gofmt -l)
if [[ $wrong ]]; then
	printf 'Not formatted; run gofmt -w on:\n%s\n' "$wrong" >&2
	exit 1
fi
