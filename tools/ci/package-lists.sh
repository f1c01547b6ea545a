#!/usr/bin/env bash
# Update the lists of Debian's packages: those of a machine may be older than what the archive still has.
# Usage: tools/ci/package-lists.sh      before a step that fetches a package
set -euo pipefail

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
"${as_root[@]}" apt-get update -qq
