#!/usr/bin/env bash
# Every static check, all of them even when one fails. Usage: make lint
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=()

check() {
  echo "lint: $1"
  "${@:2}" || failed+=("$1")
}

# Test folders are checked one by one: modules in different ones may have the same name.
check_types() {
  local sources=(shared-py/src jobs/*/src)
  MYPYPATH=$(IFS=: && echo "${sources[*]}:tools")
  export MYPYPATH
  mypy "${sources[@]}" tools conftest.py || return
  git ls-files -co --exclude-standard '*tests/*.py' | xargs -n1 dirname | sort -u | while read -r folder; do
    mypy "$folder"/*.py || return
  done
}

files() { git ls-files -co --exclude-standard -- "$@"; }
check_scripts() { files '*.sh' .ci/run | xargs shellcheck; }
check_dockerfiles() { files '*Dockerfile' | xargs hadolint; }

check "ruff" ruff check --quiet .
check "format" ruff format --quiet --check .
check "types" check_types
check "import rules" lint-imports --no-logo
check "shell scripts" check_scripts
check "Dockerfiles" check_dockerfiles
check "lock files" python tools/lock.py --check
check "settings tables" python tools/settings_docs.py --check

if [ ${#failed[@]} -gt 0 ]; then
  (IFS=, && echo "lint: failed: ${failed[*]}" >&2)
  exit 1
fi
echo "lint: all good"
