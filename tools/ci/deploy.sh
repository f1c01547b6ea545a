#!/usr/bin/env bash
# Deploy the jobs of .build/digests by their digests, and wait until each Deployment is rolled out and each
# ScaledObject or ScaledJob is ready. Nothing is applied where the cluster's last setup was for another commit (see
# tools/cluster/setup_record.py), or where the kubeconfig's token ends soon.
# Usage: tools/ci/deploy.sh [--dry-run]      --dry-run prints the manifests
# Environment: ENV (prod); REGISTRY; KUBECONFIG, a file, or KUBECONFIG_CONTENT, its content; DIGESTS (.build/digests), a folder with
# a file for each job; TIMEOUT (180s) of each wait.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH PYTHONPATH=$PWD/tools

DIGESTS=${DIGESTS:-.build/digests}
TIMEOUT=${TIMEOUT:-180s}

fail() {
  echo "deploy: $1" >&2
  exit 1
}

digest_of() {
  local digest
  digest=$(<"$DIGESTS/$1")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "$DIGESTS/$1 holds no digest"
  echo "$digest"
}

apply() {
  local digest
  digest=$(digest_of "$1") || return
  TAG=$digest tools/deploy.sh "$@"
}

exists() { [ -n "$(kubectl get "$1" --namespace "$JOBS_NAMESPACE" --ignore-not-found --output name)" ]; }

# Wait for those of the job's objects that exist, which depends on its kind.
check() {
  local kind
  if exists "deployment/$1"; then
    kubectl rollout status "deployment/$1" --namespace "$JOBS_NAMESPACE" --timeout "$TIMEOUT" || return
  fi
  for kind in scaledobject scaledjob; do
    if exists "$kind/$1"; then
      kubectl wait "$kind/$1" --for condition=Ready --namespace "$JOBS_NAMESPACE" --timeout "$TIMEOUT" || return
    fi
  done
}

[ -n "${REGISTRY:-}" ] || fail "REGISTRY is not set"
jobs=()
for file in "$DIGESTS"/*; do
  [ -f "$file" ] || fail "$DIGESTS has no digest"
  # What is no job is deployed by nobody: the setup uses it.
  if [ -d "jobs/${file##*/}" ]; then jobs+=("${file##*/}"); fi
done
if [ ${#jobs[@]} -eq 0 ]; then
  echo "deploy: nothing to do, no job is in $DIGESTS"
  exit
fi
if [ "${1:-}" = --dry-run ]; then
  for job in "${jobs[@]}"; do
    echo "---"
    apply "$job" --dry-run
  done
  exit
fi
[ $# -eq 0 ] || fail "unknown argument '$1'; usage: tools/ci/deploy.sh [--dry-run]"

if [ -n "${KUBECONFIG_CONTENT:-}" ]; then
  KUBECONFIG=$(umask 077 && mktemp)
  export KUBECONFIG
  trap 'rm -f "$KUBECONFIG"' EXIT
  printf '%s' "$KUBECONFIG_CONTENT" >"$KUBECONFIG"
fi
[ -n "${KUBECONFIG:-}" ] || fail "there is no cluster; set the secret KUBECONFIG of the environment (see docs/ci.md)"
# shellcheck source-path=SCRIPTDIR source=../../k8s/environment.sh
source k8s/environment.sh

# A login by OIDC has no token here: the kubeconfig names a program that fetches one.
token=$(kubectl config view --raw --minify --output 'jsonpath={.users[0].user.token}') ||
  fail "the kubeconfig cannot be read, see above"
python -m cluster.token_life <<<"$token" || exit 1
python -m cluster.setup_record check || exit 1
for job in "${jobs[@]}"; do apply "$job" || fail "$job was not applied, see above"; done
failed=()
for job in "${jobs[@]}"; do
  check "$job" || failed+=("$job")
done
[ ${#failed[@]} -eq 0 ] || fail "not ready within $TIMEOUT: ${failed[*]}; see: kubectl -n $JOBS_NAMESPACE describe pods -l app=${failed[0]}"
echo "deploy: ready in $ENV: ${jobs[*]}"
