#!/usr/bin/env bash
# Show the platform on one screen: its parts, what scales the jobs, lag, waiting retries, dead letters, pods.
# Usage: k8s/status.sh      (make -C k8s status)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup
use_environment
exec python -m cluster.status
