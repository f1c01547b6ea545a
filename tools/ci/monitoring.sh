#!/usr/bin/env bash
# Run `make monitoring` with Debian's Prometheus, unpacked but not installed, because the package starts a server.
# Usage: tools/ci/monitoring.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$PWD/.build/prometheus
rm -rf "$folder"
mkdir -p "$folder"
(cd "$folder" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .)
PROMETHEUS=$folder/usr/bin/prometheus PROMTOOL=$folder/usr/bin/promtool make monitoring
