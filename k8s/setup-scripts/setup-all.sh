#!/usr/bin/env bash
# Set up the platform on the cluster of kubectl, after asking: KEDA, NATS with its users, namespaces, stream and
# consumers, secrets, tables of the batch jobs. Jobs are deployed later. A second run does what is missing and changes
# nothing else. What belongs to others is left alone: where it is in the way, this says so and changes nothing.
# Usage: k8s/setup-scripts/setup-all.sh [--part cluster|namespaces] [--yes]
#   --part     cluster: KEDA, the namespaces, their quotas and roles, for an administrator of the cluster
#              namespaces: all the rest, for whoever has the ClusterRole admin in them. Without --part, both
#   --yes      do not ask
# Environment:
#   ENV            the environment, a folder of k8s/kustomize/overlays: prod (default), or test with an S3 server,
#                  PostgreSQL and pictures inside
#   KUBECONFIG     the cluster, with the environment's KUBE_CONTEXT or the current context
#   ENV_FILE       the credentials, default k8s/.env, and k8s/.env.<ENV> for others than prod
#   PG_DSN         the database, where ENV_FILE has none
#   KEDA_MANIFEST  a file to use instead of downloading KEDA
set -euo pipefail
here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$here/progress.sh"
# shellcheck source-path=SCRIPTDIR source=keda.sh
source "$here/keda.sh"
# shellcheck source-path=SCRIPTDIR source=prerequisites.sh
source "$here/prerequisites.sh"
# shellcheck source-path=SCRIPTDIR source=test-servers.sh
source "$here/test-servers.sh"

part=all
yes=false
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=true ;;
    --part)
      part=${2:-}
      shift
      ;;
    --part=*) part=${1#*=} ;;
    -h | --help)
      usage
      exit
      ;;
    *) fail "unknown option '$1', see --help" ;;
  esac
  shift || break
done
case $part in all | cluster | namespaces) ;; *) fail "--part is cluster or namespaces, not '$part'" ;; esac
use_environment
platform=$root/k8s/kustomize/overlays/$ENV
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT

has_part() { [ "$part" = all ] || [ "$part" = "$1" ]; }

# overlay COMMAND: the rendered overlay through tools/cluster/overlay.py. check_cluster renders it.
overlay() { python -m cluster.overlay "$1" <<<"$rendered"; }

show_what_changes() {
  local first=''
  # Who runs it again, and reads this, is on another cluster than the last time.
  kubectl get namespace "$JOBS_NAMESPACE" >/dev/null 2>&1 || first=", for the first time in this cluster"
  say "context $context at $server, environment $ENV$first: this sets up"
  if [ -n "$keda_to_install" ]; then echo "  KEDA $keda_to_install in the namespace keda, with its CRDs"; fi
  if has_part cluster; then echo "  the namespaces $(joined "${namespaces[@]}") with quotas, limits and roles"; fi
  if has_part namespaces; then echo "  in $(joined "${namespaces[@]}"): NATS with users, streams and consumers, secrets, network policies, tables"; fi
}

# An earlier teardown may still run, and nothing can be made in a namespace that is being deleted.
nothing_goes() {
  local phases
  phases=$(kubectl get namespaces ${keda_to_install:+keda} "${namespaces[@]}" --ignore-not-found --output 'jsonpath={.items[*].status.phase}')
  [[ $phases != *Terminating* ]]
}

say_what_is_next() {
  cat <<END
$name: done. Next:
  $([ -e "$ENV_FILE" ] || echo "cp k8s/.env.template $env_file, chmod 600, fill in, make -C k8s secrets ENV=$ENV, then this script again for the tables
  ")make build-all push-all REGISTRY=<host>/<path>
  make deploy JOB=<job> REGISTRY=<host>/<path> ENV=$ENV     (or, with a local build: TAG=dev and no REGISTRY)
  make -C k8s status ENV=$ENV
END
}

set_up_cluster() {
  install_keda
  overlay cluster | applied "namespaces" kubectl apply --server-side --filename -
}

set_up_namespaces() {
  if [ -n "$TEST_NAMESPACE" ]; then make_test_secrets; fi
  overlay namespaces | applied "platform" kubectl apply --server-side --filename -
  if [ -n "$TEST_NAMESPACE" ]; then wait_for_test_servers; fi
  python -m cluster.bootstrap || fail "the platform is there, and not all that jobs need, see above. Run this again"
  python -m cluster.policies
  say_what_is_next
}

find_cluster
check_prerequisites
show_what_changes
confirm "nothing was changed"
nothing_goes || await 300 "the last teardown to end" "kubectl get namespaces" nothing_goes
if has_part cluster; then set_up_cluster; fi
if has_part namespaces; then set_up_namespaces; else say "done. Next, with rights in the namespaces: --part namespaces"; fi
