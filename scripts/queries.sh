#!/usr/bin/env bash
# Prints docs/queries.md: starts a PostgreSQL server in a temporary directory, has
# tools/queries fill and measure it, and removes it. It takes some minutes and 4 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$(dirname "$(readlink -f "$(command -v initdb || true)")")
if [[ ! -x $bin/postgres ]]; then
	bin=$(find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -n 1)
fi
if [[ ! -x $bin/postgres ]]; then
	echo "No initdb in PATH or /usr/lib/postgresql: install Debian's package postgresql." >&2
	exit 1
fi

dir=$(mktemp -d)
server=
finish() {
	if [[ -n $server ]]; then
		kill -INT "$server" 2>/dev/null || true # it takes the connections down, and ends
		wait "$server" || true
	fi
	rm -rf "$dir"
}
trap finish EXIT

# PostgreSQL refuses to be run by root.
as=()
if [[ $(id -u) == 0 ]]; then
	chown postgres "$dir"
	as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi

go build -o "$dir/queries" ./tools/queries
"${as[@]}" "$bin/initdb" --pgdata "$dir/pg" --username berth --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions >&2
# As a server is set up, but for what only costs time here; and every statement's
# plan goes into the log, once the loading is done.
"${as[@]}" "$bin/postgres" -D "$dir/pg" -k "$dir" -c listen_addresses= \
	-c shared_buffers=512MB -c work_mem=4MB -c maintenance_work_mem=256MB -c max_wal_size=4GB \
	-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 \
	-c autovacuum=off -c jit=off -c max_parallel_workers_per_gather=0 -c random_page_cost=1.1 -c effective_cache_size=2GB \
	-c log_destination=jsonlog -c logging_collector=on -c log_directory="$dir/log" -c log_filename=server.log -c log_file_mode=0644 \
	-c log_rotation_age=0 -c log_rotation_size=0 \
	-c session_preload_libraries=auto_explain \
	-c auto_explain.log_min_duration=-1 -c auto_explain.log_analyze=on -c auto_explain.log_timing=off \
	-c auto_explain.log_nested_statements=on -c auto_explain.log_format=json >"$dir/out" 2>&1 &
server=$!
psql=("$bin/psql" -h "$dir" -U berth -X -q -v ON_ERROR_STOP=1)
for _ in $(seq 300); do
	if "${psql[@]}" -d postgres -c 'SELECT' >/dev/null 2>&1; then break; fi
	sleep 0.2
done
"${psql[@]}" -d postgres -c 'CREATE DATABASE berth'

tool=("$dir/queries" --database "postgres://berth@/berth?host=$dir" --data "$dir/data")
"${tool[@]}" load
"${psql[@]}" -d berth -c 'VACUUM (ANALYZE)' -c 'ALTER DATABASE berth SET auto_explain.log_min_duration = 0'
"${tool[@]}" --log "$dir/log/server.json" report
