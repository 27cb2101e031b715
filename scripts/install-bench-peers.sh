#!/usr/bin/env bash
# Builds what the benchmark (bench/) compares Berth with and no Debian package brings,
# into .tools/bench: the registries distribution and zot. versitygw, which Berth has its
# layers on in one of its shapes, is linked from .tools/bin, and has to be there
# (scripts/install-test-deps.sh). It is quick and needs no network when everything is
# there.
#
#   scripts/install-bench-peers.sh
#   scripts/install-bench-peers.sh --help
#
# The version of distribution stands in bench/peers/distribution/go.mod, with checksums
# beside it, that of zot below. Delete .tools/bench to start afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.tools/bench

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf '   %s\n' "$*"; }
fail() { printf 'install-bench-peers: %s\n' "$*" >&2; exit 1; }

case ${1:-} in
'') ;;
--help | -h) usage; exit 0 ;;
*) usage >&2; fail "unknown flag $1" ;;
esac

# there says whether a program is there that was built from the same input, which is given
# on standard input; when not, mark is to be called after it was built.
there() {
	stamp=$bin/$1.stamp
	want=$({ go version; cat; } | sha256sum)
	[[ -x $bin/$1 && -f $stamp && $(<"$stamp") == "$want" ]]
}

mark() { printf '%s\n' "$want" >"$stamp"; }

install_distribution() {
	local module=bench/peers/distribution
	if there distribution < <(cat "$module/go.mod" "$module/go.sum"); then
		say "$module: there"
		return
	fi
	say "$module: building"
	CGO_ENABLED=0 go -C "$module" build -trimpath -buildvcs=false -o "$bin/distribution" github.com/distribution/distribution/v3/cmd/registry
	mark
}

# install_zot builds zot without its extensions. Its module calls itself by another name
# than it is fetched by and replaces modules that no proxy has, which a module that depends
# on it would have to repeat: it is fetched by its exact version, held against a checksum,
# and built in a copy with the versions of its own go.mod, as its Makefile does.
install_zot() {
	local version=v1.4.3 sum=h1:/6btePyKpR2R1FwGa8WhqtviB10Ox5Yw+rsYVmenhFI= json dir work
	if there zot <<<"$version $sum"; then
		say "zot $version: there"
		return
	fi
	say "zot $version: building, for minutes"
	json=$(cd / && GOFLAGS=-mod=mod GOWORK=off go mod download -json "github.com/project-zot/zot@$version")
	dir=$(sed -n 's/.*"Dir": "\(.*\)",*$/\1/p' <<<"$json")
	[[ $(sed -n 's/.*"Sum": "\(.*\)",*$/\1/p' <<<"$json") == "$sum" ]] ||
		fail "the checksum of zot $version is not $sum"
	work=$(mktemp -d)
	cp -R "$dir/." "$work"
	chmod -R u+w "$work"
	CGO_ENABLED=0 go -C "$work" build -trimpath -buildvcs=false -tags containers_image_openpgp \
		-ldflags "-X zotregistry.io/zot/pkg/api/config.Commit=$version -X zotregistry.io/zot/pkg/api/config.BinaryType=minimal" \
		-o "$bin/zot" ./cmd/zot
	rm -rf "$work"
	mark
}

command -v go >/dev/null || fail "Go is missing; go.mod says which version is needed"
mkdir -p "$bin"
exec 9>"$bin/lock"
flock 9 # another run may be building the same
echo "== What the benchmark compares with, into .tools/bench"
[[ -x .tools/bin/versitygw ]] || fail "versitygw is missing; run scripts/install-test-deps.sh first"
ln -sf ../bin/versitygw "$bin/versitygw"
install_distribution
install_zot
