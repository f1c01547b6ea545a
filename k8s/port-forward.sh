#!/usr/bin/env bash
# Forward the cluster's NATS to 127.0.0.1: 4222, and 8222 for monitoring.
# Usage: k8s/port-forward.sh      (make -C k8s port-forward)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
use_environment
[ -n "$NATS_NAMESPACE" ] || fail "NATS is one of yours, at the NATS_URL of the environment"
cat <<END
NATS_URL=nats://127.0.0.1:4222 NATS_USER=admin, and the password (for people on call: operator and nats-operator):
  export NATS_PASSWORD=\$(kubectl get secret -n $NATS_NAMESPACE nats-admin -o jsonpath='{.data.NATS_PASSWORD}' | base64 -d)
END
kubectl port-forward --namespace "$NATS_NAMESPACE" --address 127.0.0.1 service/nats-headless 4222 8222
