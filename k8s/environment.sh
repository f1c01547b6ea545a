#!/usr/bin/env bash
# Sourced by all that talks to a cluster: set the facts of the environment ENV (default prod), which stand in
# k8s/kustomize/overlays/$ENV/environment/environment.env, and make kubectl use its context. In a shell of yours, bash or
# zsh:
#   export ENV=staging; . k8s/environment.sh; kubectl get pods -n "$JOBS_NAMESPACE"
# The current context of your kubeconfig stays as it is.

# The flag, because it holds for one call only.
kubectl() { command kubectl ${KUBE_CONTEXT:+--context="$KUBE_CONTEXT"} "$@"; }

load_environment() {
  local facts
  facts=$(python3 "$(dirname "$1")/../tools/environments.py") || return 1
  eval "$facts"
  export ENV
  # Where there is no kubectl (127), the scripts say so themselves.
  [ -z "$KUBE_CONTEXT" ] || command kubectl config get-contexts "$KUBE_CONTEXT" >/dev/null 2>&1 || [ $? -eq 127 ] || {
    echo "environment: $ENV is on the context $KUBE_CONTEXT, and the kubeconfig has none of that name;" \
      "add it, or rename yours: kubectl config rename-context <name> $KUBE_CONTEXT" >&2
    return 1
  }
}

load_environment "${BASH_SOURCE[0]:-$0}"
