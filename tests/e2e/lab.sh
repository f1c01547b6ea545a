#!/usr/bin/env bash
# Brings up a local cluster where this machine has a way to, and prints the variables by which `make e2e` finds it.
# Usage: eval "$(tests/e2e/lab.sh)" && make e2e        (without such a way it prints nothing and ends with 1)
# Images have to be built before: make build-all build-test-servers
set -euo pipefail
lab=$(cd "$(dirname "$0")/../.." && pwd)/../shared/lab/lab
[ -x "$lab" ] || {
  echo "e2e: this machine has no lab; give a cluster: KUBECONFIG=… E2E_LOAD='kind load docker-image --name …' make e2e" >&2
  exit 1
}
home=${KUBE_LAB_HOME:-$HOME/.cache/kube-lab}
# The pods of a burst come after seconds: Kubernetes' own 15 s would only make the tests longer.
export LAB_CONTROLLER_FLAGS=${LAB_CONTROLLER_FLAGS:---horizontal-pod-autoscaler-sync-period=5s}
"$lab" up
"$lab" policies >&2
"$lab" crds >&2
for part in operator adapter webhooks; do "$lab" load "$home/images/keda-$part.tar" >&2; done
printf 'export KEDA_MANIFEST=%q\n' "$(ls "$home"/keda-*.yaml)"
printf 'export E2E_LOAD=%q\n' "$lab load"
