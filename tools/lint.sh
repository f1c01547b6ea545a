#!/usr/bin/env bash
# Run every static check, also after a failure.
# Usage: tools/lint.sh [[--except] NAME]      one check, or all but one, by the printed name
set -uo pipefail
cd "$(dirname "$0")/.." || exit

readonly ACTIONLINT=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
failed=()
ran=0

# A name may have several words, and make's ARGS come without quotes.
only=$* but=
if [ "${1:-}" = --except ]; then
  but=${*:2} only=
fi

check() {
  if [ -n "$only" ] && [ "$1" != "$only" ]; then return; fi
  if [ "$1" = "$but" ]; then return; fi
  ran=$((ran + 1))
  echo "lint: $1"
  "${@:2}" || failed+=("$1")
}

# Test folders are checked one by one: modules in different ones may have the same name.
check_types() {
  local sources=(shared-py/src jobs/*/src)
  MYPYPATH=$(IFS=: && paths=("${sources[@]}" tools tools/*/src) && echo "${paths[*]}")
  export MYPYPATH
  mypy "${sources[@]}" tools conftest.py || return
  files '*tests/*.py' | xargs -n1 dirname | sort -u | while read -r folder; do
    mypy "$folder"/*.py || return
  done
}

# Git lists a deleted file until its deletion is staged.
files() {
  git ls-files -co --exclude-standard -- "$@" | while read -r file; do
    if [ -e "$file" ]; then echo "$file"; fi
  done
}
check_scripts() { files '*.sh' .ci/run tools/ops/keda-jobs | xargs shellcheck; }
check_docstrings() { files '*.py' '*.py.tpl' | xargs python tools/docstrings.py; }
check_dockerfiles() { files '*Dockerfile' | xargs hadolint; }
check_job_files() { PYTHONPATH=tools:${PYTHONPATH:-} python -m job_files --check; }

check_workflows() {
  zizmor --quiet --offline --persona pedantic --no-progress .github || return
  if ! command -v actionlint >/dev/null && command -v go >/dev/null; then
    GOBIN=$PWD/.venv/bin go install "$ACTIONLINT" || true
  fi
  if ! command -v actionlint >/dev/null; then
    echo "lint: actionlint is skipped: install it, or Go to build it"
    return
  fi
  actionlint
}

check "ruff" ruff check --quiet .
check "format" ruff format --quiet --check .
check "docstrings" check_docstrings
check "types" check_types
check "import rules" lint-imports --no-logo
check "shell scripts" check_scripts
check "Dockerfiles" check_dockerfiles
check "GitHub workflows" check_workflows
check "lock files" python tools/lock.py --check
check "job files" check_job_files
check "settings tables" python tools/settings_docs.py --check
check "metrics tables" python tools/metrics_docs.py --check

if [ "$ran" -eq 0 ]; then failed+=("there is no check '$only'"); fi
if [ ${#failed[@]} -gt 0 ]; then
  (IFS=, && echo "lint: failed: ${failed[*]}" >&2)
  exit 1
fi
echo "lint: all good"
