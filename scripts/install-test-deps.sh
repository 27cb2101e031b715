#!/usr/bin/env bash
# Installs what the tests need and is not there yet: Debian packages, the
# registry clients and the S3 server that are written in Go, into .tools/bin, and
# the npm packages that drive Chromium, into .tools/browser. It is quick and needs
# neither root nor the network when everything is there.
#
#   scripts/install-test-deps.sh             Debian packages and clients
#   scripts/install-test-deps.sh --clients   the clients only; never needs root
#   scripts/install-test-deps.sh --long      also helm, which takes minutes to build
#   scripts/install-test-deps.sh --help
#
# The versions of the clients stand in tools/clients/go.mod, tools/helm/go.mod and
# tools/acme/go.mod (a certificate authority), those of the npm packages in
# tools/browser/package-lock.json, with checksums beside them. Delete .tools to start afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
bin=$root/.tools/bin

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf '   %s\n' "$*"; }
fail() { printf 'install-test-deps: %s\n' "$*" >&2; exit 1; }

packages=yes
long=no
for flag in "$@"; do
	case $flag in
	--clients) packages=no ;;
	--long) long=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; fail "unknown flag $flag" ;;
	esac
done

# Each Debian package with a file of it that the tests need; the C compiler is for
# Go's race detector. dockerd is asked for
# by its full name: a docker client that was put into /usr/local/bin by other
# means brings no engine.
debian=(
	"gcc /usr/bin/gcc"
	"libc6-dev /usr/include/stdlib.h"
	"docker.io /usr/sbin/dockerd"
	"containerd /usr/bin/ctr"
	"podman /usr/bin/podman"
	"skopeo /usr/bin/skopeo"
	"buildah /usr/bin/buildah"
	"awscli /usr/bin/aws"
	"debootstrap /usr/sbin/debootstrap"
	"umoci /usr/bin/umoci"
	"postgresql /usr/lib/postgresql/*/bin/initdb"
	"systemd /usr/bin/systemd-analyze"
	"haproxy /usr/sbin/haproxy"
	"nginx-light /usr/sbin/nginx"
	"pgbouncer /usr/sbin/pgbouncer"
	"docker-registry /usr/bin/docker-registry"
	"nats-server /usr/sbin/nats-server"
	"busybox-static /bin/busybox"
	"curl /usr/bin/curl"
	"chromium /usr/lib/chromium/chromium"
	"nodejs /usr/bin/node"
	"npm /usr/bin/npm"
)

# The tests start what they need themselves, and the services that packages bring would
# take ports, docker-registry 5000. Debian asks this file whether it may start one; a
# machine that has it has decided for itself.
without_services='
	policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		trap "rm -f $policy" EXIT
		printf "#!/bin/sh\nexit 101\n" >$policy
		chmod 755 $policy
	fi
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
'

# missing_packages prints the packages whose file is not there.
missing_packages() {
	local entry
	for entry in "${debian[@]}"; do
		# The second word may be a pattern.
		if ! compgen -G "${entry#* }" >/dev/null; then
			echo "${entry%% *}"
		fi
	done
}

install_packages() {
	echo "== Debian packages"
	local missing
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]} == 0)); then
		say "all there: ${debian[*]%% *}"
		return
	fi
	say "missing: ${missing[*]}"
	command -v apt-get >/dev/null ||
		fail "this system has no apt-get; install what gives: ${missing[*]}"
	local as=()
	if ((EUID != 0)); then
		command -v sudo >/dev/null ||
			fail "run as root, or have root run: apt-get install ${missing[*]}"
		as=(sudo)
	fi
	"${as[@]}" apt-get -qq update
	say "installing them, without starting the services that they bring"
	"${as[@]}" bash -euc "$without_services" install "${missing[@]}"
	mapfile -t missing < <(missing_packages)
	((${#missing[@]} == 0)) || fail "installed, and yet their programs are not there: ${missing[*]}"
	say "installed"
}

# done_before says whether a step was done with the same input, which is given on
# standard input; when not, mark_done is to be called after the step.
done_before() {
	stamp=$root/.tools/stamps/$1
	want=$({ go version; cat; } | sha256sum)
	[[ -f $stamp && $(<"$stamp") == "$want" ]]
}

mark_done() {
	mkdir -p "${stamp%/*}"
	printf '%s\n' "$want" >"$stamp"
}

# tools_of prints the names of the programs that a module of ours has as tools.
tools_of() {
	awk '$1 == "tool" && $2 != "(" { print $2 } $1 == "tool" && $2 == "(" { inside = 1; next }
		$1 == ")" { inside = 0 } inside { print $1 }' "$1/go.mod" | sed 's,.*/,,'
}

# install_module builds all tools of a module of ours.
install_module() {
	local module=$1 tool all=yes
	for tool in $(tools_of "$module"); do
		[[ -x $bin/$tool ]] || all=no
	done
	if done_before "${module//\//-}" < <(cat "$module/go.mod" "$module/go.sum") && [[ $all == yes ]]; then
		say "$module: there"
		return
	fi
	say "$module: building"
	CGO_ENABLED=0 GOBIN=$bin go -C "$module" install -trimpath -buildvcs=false tool
	mark_done
}

# install_copied builds a program whose module cannot be a dependency of ours,
# because the list of its versions does not answer, or because the program is its
# tests: the module is fetched by its exact version, held against a checksum, and
# built in a copy, with "go build" or what else is given.
install_copied() {
	local program=$1 module=$2 sum=$3 path=$4 json dir work
	local build=("${@:5}")
	((${#build[@]} > 0)) || build=(build)
	if done_before "$program" <<<"$module $sum $path" && [[ -x $bin/$program ]]; then
		say "$module: there"
		return
	fi
	say "$module: building"
	json=$(cd / && GOFLAGS=-mod=mod GOWORK=off go mod download -json "$module")
	dir=$(sed -n 's/.*"Dir": "\(.*\)",*$/\1/p' <<<"$json")
	[[ $(sed -n 's/.*"Sum": "\(.*\)",*$/\1/p' <<<"$json") == "$sum" ]] ||
		fail "the checksum of $module is not $sum"
	work=$(mktemp -d)
	cp -R "$dir/." "$work"
	chmod -R u+w "$work"
	CGO_ENABLED=0 go -C "$work" "${build[@]}" -trimpath -buildvcs=false -o "$bin/$program" "$path"
	rm -rf "$work"
	mark_done
}

# install_browser brings what drives Chromium: the npm packages of tools/browser,
# exactly as its lock file names them. No script of theirs runs; the browser that
# playwright-core would download is Debian's. The lock file names the public npm
# registry, and npm asks the one that it is set up with in its place.
install_browser() {
	local source=tools/browser target=$root/.tools/browser node
	echo "== What drives Chromium, into .tools/browser"
	for node in /usr/bin/node /usr/bin/npm; do
		[[ -x $node ]] || fail "$node is missing; run scripts/install-test-deps.sh without --clients"
	done
	if done_before tools-browser < <(cat "$source/package.json" "$source/package-lock.json") &&
		[[ -f $target/node_modules/playwright-core/package.json && -f $target/node_modules/axe-core/axe.min.js ]]; then
		say "$source: there"
		return
	fi
	node=$(/usr/bin/node -p 'process.versions.node')
	((${node%%.*} >= 18)) ||
		fail "Node.js $node is too old for playwright-core: install 18 or newer as /usr/bin/node (Debian 12 has it)"
	say "$source: installing"
	mkdir -p "$target"
	cp "$source/package.json" "$source/package-lock.json" "$target"
	/usr/bin/npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	mark_done
}

main() {
	command -v go >/dev/null || fail "Go is missing; go.mod says which version is needed"
	mkdir -p "$bin"
	exec 9>"$root/.tools/lock"
	flock 9 # another run may be building the same
	if [[ $packages == yes ]]; then
		install_packages
	fi
	echo "== Registry clients and an S3 server, into .tools/bin"
	install_module tools/clients
	install_module tools/versitygw
	install_module tools/acme
	install_module tools/conformance
	install_copied oci-conformance-2023 github.com/opencontainers/distribution-spec/conformance@v0.0.0-20231101194043-f2182352d4cc h1:jL+CgYEEZluGb08ZcLpEyhn389kNMlwrWOHaIqXazq0= . test -c
	install_copied oras oras.land/oras@v1.3.1 h1:dFM8XHqsy4CyDblYek5VnxqfankYgRmhX1vzS2HvKrM= ./cmd/oras
	install_browser
	if [[ $long == yes ]]; then
		install_module tools/helm
	fi
}

main
