#!/usr/bin/env bash
# Print a kubeconfig for CI. It may apply the jobs. It may not read a secret or run a command in a pod.
# Usage: k8s/deployer-kubeconfig.sh [DURATION] >FILE
#   DURATION  how long it is valid, such as 720h (default 8760h, or what the cluster allows)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup

# The cluster of the current context, with its certificate inside.
cluster=$(kubectl config view --raw --minify --flatten --output 'jsonpath={.clusters[0].cluster}') ||
  fail "kubectl has no cluster, set KUBECONFIG"
token=$(kubectl create token deployer --namespace keda-jobs-prod --duration "${1:-8760h}") ||
  fail "no token for the ServiceAccount deployer" "k8s/setup-scripts/setup-all.sh makes it"
cat <<YAML
apiVersion: v1
kind: Config
current-context: deployer
clusters: [{name: cluster, cluster: $cluster}]
users: [{name: deployer, user: {token: $token}}]
contexts: [{name: deployer, context: {cluster: cluster, user: deployer, namespace: keda-jobs-prod}}]
YAML
