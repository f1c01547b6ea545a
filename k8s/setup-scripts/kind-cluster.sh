#!/usr/bin/env bash
# Make a kind cluster on this machine with everything in it: images, platform, test servers, all jobs. A second run
# builds and loads what changed. `make cluster` runs this. `kind delete cluster --name keda-jobs` removes the cluster.
# Your kubeconfig and its current context stay as they are: the cluster's own is .build/kubeconfig.
# Usage: k8s/setup-scripts/kind-cluster.sh
# Environment: ENV, one with test servers (default test); KIND_CLUSTER (default keda-jobs); ENV_FILE and KEDA_MANIFEST as
# for setup-all.sh.
# shellcheck disable=SC2154  # root and name come from progress.sh
set -euo pipefail
here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$here/progress.sh"

readonly KIND_FLOOR=0.20
readonly POLICY_FLOOR=0.24 # since then its network enforces NetworkPolicies
cluster=${KIND_CLUSTER:-keda-jobs}
export KUBECONFIG=$root/.build/kubeconfig ENV=${ENV:-test}
case ${1:-} in
  -h | --help)
    usage
    exit
    ;;
  ?*) fail "unknown option '$1', see --help" ;;
esac

check() {
  local missing=() version
  docker info >/dev/null 2>&1 || missing+=("Docker does not answer: install and start it")
  type -P kubectl >/dev/null || missing+=("kubectl is not installed: make setup")
  version=$(kind version 2>/dev/null | sed -n 's/^kind v\([0-9.]*\).*/\1/p')
  if ! at_least "${version:-0}" "$KIND_FLOOR"; then
    missing+=("kind $KIND_FLOOR or later is not installed: https://kind.sigs.k8s.io/docs/user/quick-start")
  elif ! at_least "$version" "$POLICY_FLOOR"; then
    say "kind $version does not enforce NetworkPolicies; $POLICY_FLOOR and later do"
  fi
  [ ${#missing[@]} -eq 0 ] || {
    printf '  ✗ %s\n' "${missing[@]}"
    fail "${#missing[@]} of the prerequisites are missing, see above. Nothing was changed"
  }
}

make_cluster() {
  mkdir -p "$(dirname "$KUBECONFIG")"
  if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
    kind create cluster --name "$cluster" --wait 180s || fail "kind could not make a cluster, see above"
  fi
  kind export kubeconfig --name "$cluster" || fail "kind could not write $KUBECONFIG, see above"
}

load_images() {
  make -C "$root" --no-print-directory build-all build-test-servers
  local images=(keda-jobs-test-servers:dev) file
  for file in "$root"/jobs/*/Dockerfile; do images+=("$(basename "$(dirname "$file")"):dev"); done
  # The images of NATS and PostgreSQL are public, so the cluster pulls them.
  kind load docker-image --name "$cluster" "${images[@]}" || fail "the images could not be loaded into the cluster, see above"
}

# The jobs refuse private addresses. The test cluster's own pictures are the exception.
allow_pictures() {
  local address
  address=$(kubectl get service pictures --namespace "$TEST_NAMESPACE" --output 'jsonpath={.spec.clusterIP}')
  kubectl apply --server-side --filename - <<END
apiVersion: v1
kind: ConfigMap
metadata:
  name: image-download
  namespace: $JOBS_NAMESPACE
  labels: {app: image-download, app.kubernetes.io/part-of: keda-jobs}
data:
  DOWNLOAD_ALLOW_ADDRESSES: "$address:80"
END
}

deploy_jobs() {
  local file
  for file in "$root"/jobs/*/Dockerfile; do TAG=dev "$root/tools/deploy.sh" "$(basename "$(dirname "$file")")"; done
}

check
make_cluster
use_environment
[ -n "$TEST_NAMESPACE" ] || fail "the environment $ENV has no test servers, take one that has"
load_images
"$root/k8s/setup-scripts/setup-all.sh" --yes
allow_pictures
deploy_jobs
make -C "$root/k8s" --no-print-directory status
cat <<END

Try it: export KUBECONFIG=\$PWD/.build/kubeconfig ENV=$ENV      (in this folder)
        k8s/connect.sh keda-jobs pub image-download '{"url": "http://pictures.$TEST_NAMESPACE.svc/picture/1.png"}'
        make -C k8s logs JOB=image-download
END
