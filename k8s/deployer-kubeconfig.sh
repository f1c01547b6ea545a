#!/usr/bin/env bash
# Print a kubeconfig for CI, with a token of the ServiceAccount deployer. It may apply the jobs.
# Usage: k8s/deployer-kubeconfig.sh [DURATION] >FILE
#   DURATION  how long it is valid, such as 720h (default 8760h). A cluster may give less: below DURATION and 30 days
#             nothing is printed. docs/ci.md has the other way, without a token
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup
use_environment
asked=${1:-8760h}

# The cluster with its certificate inside.
cluster=$(kubectl config view --raw --minify --flatten --output 'jsonpath={.clusters[0].cluster}') ||
  fail "kubectl has no cluster, set KUBECONFIG"
token=$(kubectl create token deployer --namespace "$JOBS_NAMESPACE" --duration "$asked") ||
  fail "no token for the ServiceAccount deployer" "k8s/setup-scripts/setup-all.sh, which makes it"
python -m cluster.token_life --asked "$asked" <<<"$token" || exit 1
context=${KUBE_CONTEXT:-deployer} # what a deploy to this environment looks for
cat <<YAML
apiVersion: v1
kind: Config
current-context: "$context"
clusters: [{name: cluster, cluster: $cluster}]
users: [{name: deployer, user: {token: $token}}]
contexts: [{name: "$context", context: {cluster: cluster, user: deployer, namespace: $JOBS_NAMESPACE}}]
YAML
