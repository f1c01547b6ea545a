#!/usr/bin/env bash
# Remove the platform and its jobs from the cluster of kubectl, after asking. A second run continues.
# Usage: k8s/setup-scripts/teardown-all.sh [--yes] [--delete-data]
#   --yes          do not ask
#   --delete-data  also delete the events: NATS's volumes and the namespace nats. Without it both stay, and the next
#                  setup-all.sh uses them.
# Never removed: a KEDA that setup-all.sh did not install, k8s/.env, and what is in your database and your store.
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

show_what_goes() {
  say "context $context: this removes"
  echo "  all jobs with their pods and settings, the secrets, the namespaces keda-jobs-prod and keda-jobs-test"
  if $delete_data; then
    echo "  NATS with every event, waiting retry and dead letter in it, the namespace nats"
  else
    echo "  NATS, but not its volumes and the namespace nats, which hold the events (--delete-data removes them)"
  fi
  if [ -z "$(keda_found)" ]; then
    return
  elif ! keda_is_ours; then
    echo "  not KEDA: setup-all.sh did not install it"
  elif [ -n "$(scaled_of_others)" ]; then
    echo "  not KEDA: it also scales $(scaled_of_others)"
  else
    echo "  KEDA, which setup-all.sh installed, and the namespace keda"
  fi
}

ask() {
  if $yes; then return; fi
  [ -t 0 ] || fail "refusing to remove anything without confirmation: stdin is not a terminal, pass --yes"
  local answer
  read -r -p "Continue? [y/N] " answer
  [[ $answer == [yY]* ]] || fail "nothing was removed"
}

command -v kubectl >/dev/null || fail "kubectl is not installed; run: make setup"
context=$(kubectl config current-context 2>/dev/null) || context="(none)"
kubectl version --request-timeout=10s >/dev/null 2>&1 || fail "the cluster of context $context does not answer"
show_what_goes
ask
remove_scaled
remove_platform
remove_namespaces keda-jobs-prod keda-jobs-test
remove_keda
remove_data
say "done"
