#!/usr/bin/env bash
# Run the tests behind PgBouncer, and on each PostgreSQL of the system those that show most of what it may do differently.
# Usage: tools/databases.sh [ARGUMENT OF PYTEST...]
set -euo pipefail
cd "$(dirname "$0")/.."

run() { python -m pytest --numprocesses=auto "$@"; }

run tests/pgbouncer "$@"
for initdb in /usr/lib/postgresql/*/bin/initdb; do
  if [ -x "$initdb" ]; then
    tests=shared-py/tests/integration/claims
    POSTGRES_BIN=${initdb%/*} run $tests/test_{claim,schema,plans,check,set_aside,refused_values}.py "$@"
  fi
done
