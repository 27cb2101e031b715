#!/usr/bin/env bash
# Fails when `make generate` would change something. It works on a copy, so the
# checkout stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	[[ -f $file ]] && printf '%s\0' "$file"
done | xargs -0 cp --parents -t "$copy"
make -C "$copy" --no-print-directory --silent generate
changed=no
while IFS= read -r -d '' file; do
	cmp -s "$file" "$copy/$file" && continue
	changed=yes
	diff -u --new-file "$file" "$copy/$file" | head -n 50 || true
done < <(cd "$copy" && find . -type f -print0)
if [[ $changed == yes ]]; then
	echo 'Generated files are out of date; run make generate and keep what it writes.' >&2
	exit 1
fi
