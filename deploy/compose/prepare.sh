#!/usr/bin/env bash
# Makes the secrets that compose.yaml needs, in ./secrets beside it. What is there
# already stays: a new master key would open nothing that the old one sealed.
#
#   deploy/compose/prepare.sh [DIRECTORY]
set -euo pipefail
dir=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$dir"

hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

[[ -e $dir/postgres_password ]] || hex 24 >"$dir/postgres_password"

if [[ ! -e $dir/s3.env ]]; then
	printf 'ROOT_ACCESS_KEY_ID=%s\nROOT_SECRET_ACCESS_KEY=%s\n' "berth$(hex 8)" "$(hex 24)" >"$dir/s3.env"
fi

if [[ ! -e $dir/berth.env ]]; then
	s3_id=$(sed -n 's/^ROOT_ACCESS_KEY_ID=//p' "$dir/s3.env")
	s3_secret=$(sed -n 's/^ROOT_SECRET_ACCESS_KEY=//p' "$dir/s3.env")
	cat >"$dir/berth.env.new" <<END
BERTH_DATABASE=postgres://berth:$(<"$dir/postgres_password")@postgres:5432/berth?sslmode=disable
BERTH_MASTER_KEY=$(head -c 32 /dev/urandom | base64 -w 0)
BERTH_ROOT_ACCESS_KEY_ID=AKIA$(hex 8 | tr a-f A-F)
BERTH_ROOT_SECRET_ACCESS_KEY=$(hex 20)
AWS_ACCESS_KEY_ID=$s3_id
AWS_SECRET_ACCESS_KEY=$s3_secret
END
	mv "$dir/berth.env.new" "$dir/berth.env"
fi
echo "The secrets are in $dir. Back berth.env up: without its master key nothing that Berth stores can be read."
