#!/usr/bin/env bash
# Compares the micro-benchmarks of the pure cores with those of the commit that the work
# began from, by benchstat, and fails when one has become slower by more than some
# percent and by more than chance, also when it is measured once more. The two trees take
# turns, package by package and round by round, so that what else the machine does meets
# both. A package whose tests come to the same program in both trees is passed over, and
# a benchmark that one tree alone has is shown and not judged.
#
#   scripts/bench-micro.sh [FLAGS] [PACKAGE...]   packages other than the cores, such as ./internal/domain/policy/...
#   BASE=COMMIT scripts/bench-micro.sh            with a commit other than the merge base with origin/main
#
#   -bench REGEXP     only benchmarks of that name (.)
#   -skip REGEXP      but those (they use files, or take a second each)
#   -rounds N         how often each is measured in each tree, 4 at least (10)
#   -benchtime TIME   how long each time (50ms)
#   -over PERCENT     how much slower is too much (10)
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
fail() { printf 'bench-micro: %s\n' "$*" >&2; exit 1; }

cores=(
	./internal/api/aws/{json11,paging,query,rpccbor,sigv4}
	./internal/api/ecr
	./internal/api/oci/{paging,path}
	./internal/domain/authz
	./internal/domain/event/pattern
	./internal/domain/image/manifest
	./internal/domain/lifecycle/{rules,selection}
	./internal/domain/name
	./internal/domain/policy/...
	./internal/domain/scan/tagrule
	./internal/infra/blobstore/encrypted
)

bench=.
skip='^Benchmark(Files$|.*100000Images)'
rounds=10
benchtime=50ms
over=10
while (($# > 0)); do
	case $1 in
	-h | -help | --help) usage; exit 0 ;;
	-bench | -skip | -rounds | -benchtime | -over)
		(($# > 1)) || fail "$1 needs a value"
		printf -v "${1#-}" %s "$2"
		shift 2
		;;
	-*) usage >&2; fail "unknown flag $1" ;;
	*) break ;;
	esac
done
(($# == 0)) || cores=("$@")
# The smallest number of which benchstat can say that a difference is more than chance.
[[ $rounds =~ ^([4-9]|[1-9][0-9]+)$ ]] || fail "-rounds $rounds: 4 at least, or nothing can be told from chance"
[[ $over =~ ^[0-9]+([.][0-9]+)?$ ]] || fail "-over $over is no number of percent"

base=${BASE:-$(git merge-base HEAD origin/main)} || fail "there is no merge base with origin/main to compare with; give one with BASE=COMMIT"
commit=$(git rev-parse --verify --quiet "$base^{commit}") || fail "$base is no commit"
echo "== Benchmarks of $(git log -1 --format='%h, %s' "$commit"), and of this tree"
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$commit"
ln -s "$root" "$work/this"

# What both trees have, and its test programs: $work/NUMBER.base and $work/NUMBER.this.
module=$(go list -m)
listed=$(go list "${cores[@]}") || fail "these are no packages of this tree: ${cores[*]}"
mapfile -t packages <<<"${listed//$module\//}"
same=0
measured=()
for i in "${!packages[@]}"; do
	for side in base this; do
		if [[ -d $work/$side/${packages[i]} ]]; then
			CGO_ENABLED=0 go -C "$work/$side" test -c -trimpath -buildvcs=false -o "$work/$i.$side" "./${packages[i]}" >"$work/said" 2>&1 ||
				fail "the tests of ${packages[i]} do not build (${side/base/"${commit:0:8}"}): $(<"$work/said")"
		fi
	done
	if cmp -s "$work/$i.base" "$work/$i.this"; then
		((++same))
	else
		measured+=("$i")
	fi
done
echo "   ${#packages[@]} packages, $same of them the same program in both"
((${#measured[@]} > 0)) || exit 0

# measure runs the benchmarks of a package in one of the trees once.
measure() {
	local package=${packages[$1]} program=$work/$1.$2 into=$3
	[[ -x $program ]] || return 0
	(cd "$work/$2/$package" && "$program" -test.run='^$' -test.bench="$bench" -test.skip="$skip" -test.benchtime="$benchtime") >"$work/said" 2>&1 ||
		fail "the benchmarks of $package do not run (${2/base/"${commit:0:8}"}): $(tail -n 20 "$work/said")"
	sed "s,^pkg: $module/,pkg: ," "$work/said" >>"$into"
}

# compare measures all rounds, shows benchstat's tables and leaves them in a file.
compare() {
	local table=$1 round order i side
	touch "$table.base" "$table.this"
	for ((round = 1; round <= rounds; round++)); do
		order=(base this)
		((round % 2)) || order=(this base)
		for i in "${measured[@]}"; do
			for side in "${order[@]}"; do measure "$i" "$side" "$table.$side"; done
		done
		echo "   round $round of $rounds"
	done
	local stat=(go tool -modfile=tools/slower/go.mod benchstat -table '' -row 'pkg .fullname' -ignore 'goos,goarch,cpu'
		-filter '.unit:(sec/op OR B/op OR allocs/op)')
	"${stat[@]}" "base=$table.base" "this=$table.this"
	# What it warns of stands below the tables that it has shown.
	"${stat[@]}" -format csv "base=$table.base" "this=$table.this" >"$table" 2>/dev/null
}

go -C tools/slower build -o "$work/slower" .
compare "$work/first"
slower=$("$work/slower" -over "$over" "$work/first")
[[ $slower ]] || exit 0

# One in forty that are as fast as before looks slower by chance, so it has to do so twice.
printf '== These look slower by more than %s %%, and are measured once more:\n%s\n' "$over" "$slower"
bench="^Benchmark($(sed -E 's,^[^ ]+ ([^/:-]+).*,\1,' <<<"$slower" | sort -u | paste -sd '|'))\$"
measured=()
for i in "${!packages[@]}"; do
	if grep -q "^${packages[i]} " <<<"$slower"; then measured+=("$i"); fi
done
compare "$work/second"
slower=$("$work/slower" -over "$over" "$work/first" "$work/second")
[[ -z $slower ]] || fail "slower than before by more than $over %, measured twice:
$slower"
