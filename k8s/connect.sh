#!/usr/bin/env bash
# Run a command, or a shell, with port-forwards to the cluster's NATS, and to PostgreSQL where PG_DSN names a service.
# Usage: k8s/connect.sh [COMMAND…]      for example: k8s/connect.sh keda-jobs dlq ls
# COMMAND gets NATS_URL, NATS_USER and NATS_PASSWORD of the administrator, and PG_DSN of the database's owner, from
# k8s/.env or else from the environment.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup
exec python -m cluster.connect "$@"
