#!/usr/bin/env bash
# Prints a kubeconfig for CI: by it the jobs can be applied, no secret be read and no command be run in a pod.
# Usage: k8s/deployer-kubeconfig.sh [DURATION] >FILE      how long it is good, as 720h (8760h, or what the cluster allows)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup-scripts/progress.sh
source "$(dirname "$0")/setup-scripts/progress.sh"
help_or_go_on "$@"
needs_setup

# Of the context in use, with the certificate in it.
cluster=$(kubectl config view --raw --minify --flatten --output 'jsonpath={.clusters[0].cluster}') ||
  fail "there is no cluster; name one by KUBECONFIG"
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
