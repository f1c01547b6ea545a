#!/usr/bin/env bash
# Run `make databases` with Debian's PgBouncer, unpacked but not installed, because the package starts a server.
# Usage: tools/ci/databases.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$PWD/.build/pgbouncer
rm -rf "$folder"
mkdir -p "$folder"
libraries=$(apt-cache depends --important pgbouncer | grep -oE 'lib(event|c-?ares)[^ >]*')
# shellcheck disable=SC2086 # one word for each library
(cd "$folder" && apt-get download -qq pgbouncer $libraries && for package in *.deb; do dpkg -x "$package" .; done)
found=("$folder"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=${found[0]} PGBOUNCER=$folder/usr/sbin/pgbouncer make databases
