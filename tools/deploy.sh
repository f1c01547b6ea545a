#!/usr/bin/env bash
# Apply the manifests of one job as they are in the environment, with its image as [REGISTRY/]<job>:TAG.
# Usage: tools/deploy.sh JOB [--dry-run]      --dry-run prints the manifests
# Environment: ENV (prod); REGISTRY; TAG (git describe, like `make build`; sha256:… for a digest); PULL_SECRET, a Secret of the jobs'
# namespace by which nodes pull.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
# shellcheck source-path=SCRIPTDIR source=../k8s/environment.sh
source k8s/environment.sh

REGISTRY=${REGISTRY:-}
TAG=${TAG:-$(git describe --tags --always --dirty)}

fail() {
  echo "deploy: $1" >&2
  exit 1
}

all_jobs() {
  local file
  for file in jobs/*/kustomization.yaml; do basename "$(dirname "$file")"; done
}

# Render a kustomization on top of the job's own, which stays unchanged, with the names and patches of the environment.
rendered() {
  local job=$1 folder version="newTag: \"$TAG\""
  if [[ $TAG == sha256:* ]]; then version="digest: $TAG"; fi
  mkdir -p .build/deploy
  folder=$(mktemp -d .build/deploy/XXXXXX) # its own, since two deploys may run at once
  cat >"$folder/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../../jobs/$job
components:
  - ../../../k8s/kustomize/overlays/$ENV/environment
images:
  - name: $job
    newName: ${REGISTRY:+$REGISTRY/}$job
    $version
YAML
  if [ -n "${PULL_SECRET:-}" ]; then
    cat >>"$folder/kustomization.yaml" <<YAML
patches:
  - target: {kind: ServiceAccount}
    patch: '[{"op": "add", "path": "/imagePullSecrets", "value": [{"name": "$PULL_SECRET"}]}]'
YAML
  fi
  kubectl kustomize "$folder" && rm -r "$folder"
}

job=${1:-}
dry_run=false
case ${2:-} in
  --dry-run) dry_run=true ;;
  ?*) fail "unknown argument '$2'; usage: tools/deploy.sh JOB [--dry-run]" ;;
esac
if [ -z "$job" ] || [ ! -f "jobs/$job/kustomization.yaml" ]; then
  fail "there is no job '$job'; there are: $(all_jobs | paste -sd ' ')"
fi
[ "$TAG" != latest ] || fail "TAG=latest does not identify an image; name a version"
type -P kubectl >/dev/null || fail "kubectl is not installed; run \`make setup\`"

manifests=$(rendered "$job") || fail "the manifests of $job cannot be rendered, see above"
if $dry_run; then
  echo "$manifests"
  exit
fi
context=${KUBE_CONTEXT:-$(kubectl config current-context 2>/dev/null)} || fail "there is no cluster; name one by KUBECONFIG"
echo "deploy: $job as ${REGISTRY:+$REGISTRY/}$job:$TAG to $ENV on $context"
kubectl apply -f - <<<"$manifests"
