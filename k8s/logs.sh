#!/usr/bin/env bash
# Follow the logs of all pods of a job or service. Wait for the first pod where there is none.
# Usage: k8s/logs.sh JOB [OPTION of kubectl logs…]      (make -C k8s logs JOB=…)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
# shellcheck source-path=SCRIPTDIR source=setup-scripts/deployed.sh
source "$root/k8s/setup-scripts/deployed.sh"

help_or_go_on "$@"
use_environment
job=${1:-}
deployed "$job" deployments,scaledjobs >/dev/null # a service has no ScaledObject

started() {
  kubectl get pods --namespace "$JOBS_NAMESPACE" --selector "app=$job" --field-selector status.phase!=Pending --output name
}

if [ -z "$(started)" ]; then
  echo "logs: $job is at zero, waiting for a pod (Ctrl-C to stop)" >&2
  until [ -n "$(started)" ]; do sleep 1; done
fi
# As many pods as KEDA may start. kubectl follows only five by default.
kubectl logs --namespace "$JOBS_NAMESPACE" --selector "app=$job" --follow --prefix --max-log-requests 100 \
  --tail 100 "${@:2}"
