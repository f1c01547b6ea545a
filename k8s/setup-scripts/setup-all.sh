#!/usr/bin/env bash
# Set up the platform on the cluster of kubectl, after asking: KEDA, NATS with its users, namespaces, stream and
# consumers, secrets, tables of the batch jobs. Jobs are deployed later. A second run does what is missing and changes
# nothing else. What belongs to others is left alone: where it is in the way, this says so and changes nothing.
# Usage: k8s/setup-scripts/setup-all.sh [--overlay prod|test] [--part cluster|namespaces] [--yes]
#   --overlay  k8s/kustomize/overlays/…: prod (default), or test with an S3 server, PostgreSQL and pictures inside
#   --part     cluster: KEDA, the namespaces, their quotas and roles, for an administrator of the cluster
#              namespaces: all the rest, for whoever has the ClusterRole admin in them. Without --part, both
#   --yes      do not ask
# Environment:
#   KUBECONFIG     the cluster
#   ENV_FILE       the credentials, default k8s/.env
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
# shellcheck source-path=SCRIPTDIR source=nats.sh
source "$here/nats.sh"
# shellcheck source-path=SCRIPTDIR source=data.sh
source "$here/data.sh"

overlay=prod
part=all
yes=false
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=true ;;
    --overlay)
      overlay=${2:-}
      shift
      ;;
    --overlay=*) overlay=${1#*=} ;;
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
case $overlay in prod | test) ;; *) fail "--overlay is prod or test, not '$overlay'" ;; esac
case $part in all | cluster | namespaces) ;; *) fail "--part is cluster or namespaces, not '$part'" ;; esac
platform=$root/k8s/kustomize/overlays/$overlay
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT

has_part() { [ "$part" = all ] || [ "$part" = "$1" ]; }

# overlay COMMAND: the rendered overlay through tools/cluster/overlay.py. check_cluster renders it.
overlay() { python -m cluster.overlay "$1" <<<"$rendered"; }

show_what_changes() {
  say "context $context at $server, overlay $overlay: this sets up"
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

# CI deploys only what this setup was for.
record_setup() {
  local record
  record=$(python -m cluster.setup_record print "${skipped[@]}") || fail "the record of this setup could not be made, see above"
  applied "record of this setup" kubectl apply --server-side --filename - <<<"$record"
}

say_what_is_next() {
  cat <<END
$name: done. Next:
  $([ -e "$ENV_FILE" ] || echo "cp k8s/.env.template k8s/.env, chmod 600, fill in, make -C k8s secrets, then this script again for the tables
  ")make build-all push-all REGISTRY=<host>/<path>
  make deploy JOB=<job> REGISTRY=<host>/<path>     (or, with a local build: kubectl apply -f jobs/<job>/service.yaml)
  make -C k8s status
END
}

set_up_cluster() {
  install_keda
  overlay cluster | applied "namespaces" kubectl apply --server-side --filename -
}

set_up_namespaces() {
  make_nats_users
  make_secrets
  overlay namespaces | applied "platform ($overlay)" kubectl apply --server-side --filename -
  wait_for_nats
  if [ "$overlay" = test ]; then wait_for_test_servers; fi
  load_nats_users
  declare_streams
  apply_schemas
  record_setup
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
