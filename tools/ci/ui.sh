#!/usr/bin/env bash
# Run `make test-ui`, with Debian's Chromium where the machine has no browser of that kind.
# Usage: tools/ci/ui.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium
fi
make test-ui
