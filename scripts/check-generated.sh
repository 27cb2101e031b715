#!/usr/bin/env bash
# Fails when `make generate` would change something. It works on two copies of
# the checkout, which so stays as it is, and may be worked on meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/before"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	if [[ -f $file ]]; then printf '%s\0' "$file"; fi
done | xargs -0 cp --parents -t "$work/before"
cp -R "$work/before" "$work/after"
make -C "$work/after" --no-print-directory --silent generate
cd "$work"
if ! diff --recursive --unified --new-file before after; then
	echo 'Generated files are out of date; run make generate and keep what it writes.' >&2
	exit 1
fi
