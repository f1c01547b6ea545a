#!/usr/bin/env bash
# Replace the login of a NATS user, such as a job, without a gap: docs/rotation.md. It takes some five minutes, and asks
# before the old login ends. Run it again after an interruption.
# Usage: k8s/rotate.sh [--yes] USER…     (make -C k8s rotate JOB=image-download)
#   --yes  do not ask
# Environment: ENV; KUBECONFIG
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"

help_or_go_on "$@"
[ $# -gt 0 ] || fail "say whose login: k8s/rotate.sh image-resize"
needs_setup
use_environment
exec python -m cluster.rotation "$@"
