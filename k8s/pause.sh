#!/usr/bin/env bash
# Pause or resume a job. A paused job's pods finish and leave, and no new one starts. Its messages or rows wait.
# Usage: k8s/pause.sh pause|resume JOB      (make -C k8s pause JOB=…, resume JOB=…)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
# shellcheck source-path=SCRIPTDIR source=setup-scripts/deployed.sh
source "$root/k8s/setup-scripts/deployed.sh"

action=${1:-}
case $action in
  pause | resume) ;;
  -h | --help)
    usage
    exit
    ;;
  *) fail "say pause or resume, and the job: k8s/pause.sh pause image-resize" ;;
esac
use_environment
found=$(deployed "${2:-}")
case $action/$found in
  # Not `paused`, which would leave as many pods as there are.
  pause/scaledobject*) change=(autoscaling.keda.sh/paused-replicas=0) ;;
  # A running Job may finish.
  pause/*) change=(autoscaling.keda.sh/paused=true) ;;
  *) change=(autoscaling.keda.sh/paused-replicas- autoscaling.keda.sh/paused-) ;;
esac
kubectl annotate --namespace "$JOBS_NAMESPACE" --overwrite "$found" "${change[@]}" >/dev/null
echo "$2: ${action}d"
