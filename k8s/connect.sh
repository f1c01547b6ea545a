#!/usr/bin/env bash
# Run a command, or a shell, with port-forwards to the cluster's NATS, and to PostgreSQL where PG_DSN names a service.
# Usage: k8s/connect.sh [COMMAND…]      for example: k8s/connect.sh keda-jobs dlq ls
# COMMAND gets NATS_URL, NATS_USER and NATS_PASSWORD of the administrator where you may read that Secret, else of people on
# call. PG_DSN is that of the environment's file of credentials, of the variables of the shell, else of people on call.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup
use_environment
exec python -m cluster.connect "$@"
