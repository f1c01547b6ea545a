#!/usr/bin/env bash
# Remove an environment with its jobs from the cluster of kubectl, after asking: what has our label in the namespaces
# that setup-all.sh made for it, what of its own has no namespace, and nothing else. A second run continues.
# Usage: k8s/setup-scripts/teardown-all.sh [--yes] [--delete-data]
#   --yes          do not ask
#   --delete-data  also delete the events: NATS's volumes and its namespace. Without it both stay, and the next
#                  setup-all.sh uses them.
# Environment: ENV (default prod), KUBECONFIG as for setup-all.sh.
# Never removed: what another environment has here, and KEDA while there is one, a KEDA that setup-all.sh did not
# install, the credentials in k8s, k8s/monitoring, and what is in your database and your store.
# shellcheck disable=SC2154  # root and name come from progress.sh
set -euo pipefail
here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$here/progress.sh"
# shellcheck source-path=SCRIPTDIR source=keda.sh
source "$here/keda.sh"
# shellcheck source-path=SCRIPTDIR source=removal.sh
source "$here/removal.sh"

yes=false
delete_data=false
for argument in "$@"; do
  case $argument in
    --yes) yes=true ;;
    --delete-data) delete_data=true ;;
    -h | --help)
      usage
      exit
      ;;
    *) fail "unknown option '$argument', see --help" ;;
  esac
done

# Why KEDA is not removed, empty where it is. The message is one of show_what_goes.
why_keda_stays() {
  local scaled
  scaled=$(scaled_of_others) || fail "the objects of KEDA could not be listed, see above"
  if ! keda_is_ours; then
    echo "setup-all.sh did not install it"
  elif [ -n "$others" ]; then
    echo "other environments use it, in $others"
  elif [ -n "$scaled" ]; then
    echo "it also scales $scaled"
  fi
}

show_what_goes() {
  local one
  say "context $context at $server, environment $ENV: this removes"
  for one in $ours; do
    case $one in
      "$JOBS_NAMESPACE") echo "  namespace $one: all jobs with their pods and settings, and the secrets" ;;
      "$TEST_NAMESPACE") echo "  namespace $one: the test servers" ;;
      "$NATS_NAMESPACE")
        if $delete_data; then
          echo "  namespace $one: NATS with every event, waiting retry and dead letter in it"
        else
          echo "  NATS, but not its volumes and the namespace $one, which hold the events (--delete-data removes them)"
        fi
        ;;
      *) echo "  namespace $one of an earlier setup, unless it has volumes (--delete-data removes them)" ;;
    esac
  done
  if [ -n "$cluster_wide" ]; then echo "  $(paste -sd ' ' - <<<"$cluster_wide")"; fi
  if [ -n "$keda_stays" ]; then
    echo "  not KEDA: $keda_stays"
  else
    echo "  namespace keda: KEDA, which setup-all.sh installed, with its CRDs"
  fi
}

type -P kubectl >/dev/null || fail "kubectl is not installed; run: make setup"
use_environment
find_cluster
kubectl version --request-timeout=10s >/dev/null 2>&1 || fail "the cluster of context $context does not answer"
kubectl auth can-i delete namespaces --quiet 2>/dev/null || fail "you may not delete namespaces in context $context"
{ ours=$(our_namespaces) && others=$(others_of_ours) && cluster_wide=$(our_cluster_wide); } ||
  fail "what is ours could not be listed, see above"
keda_stays=$(why_keda_stays) || exit 1
if [ -z "$ours$cluster_wide" ] && [ -n "$keda_stays" ]; then
  say "context $context at $server: nothing here is of the environment $ENV"
  exit
fi
show_what_goes
confirm "nothing was removed"
remove_scaled
remove_platform
remove_our_namespaces
remove_keda
say "done"
