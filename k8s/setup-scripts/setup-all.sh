#!/usr/bin/env bash
# Set up the platform on the cluster of kubectl: KEDA, NATS with its users, namespaces, stream and consumers, secrets,
# tables of the batch jobs. Jobs are deployed later. A second run does what is missing and changes nothing else.
# Usage: k8s/setup-scripts/setup-all.sh [--overlay prod|test]
#   --overlay  k8s/kustomize/overlays/…: prod (default), or test with an S3 server, PostgreSQL and pictures inside
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
while [ $# -gt 0 ]; do
  case $1 in
    --overlay)
      overlay=${2:-}
      shift
      ;;
    --overlay=*) overlay=${1#*=} ;;
    -h | --help)
      usage
      exit
      ;;
    *) fail "unknown option '$1', see --help" ;;
  esac
  shift || fail "--overlay needs prod or test"
done
case $overlay in prod | test) ;; *) fail "--overlay is prod or test, not '$overlay'" ;; esac
platform=$root/k8s/kustomize/overlays/$overlay
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT

# First of all, because secrets go into them.
make_namespaces() {
  local all
  all=$(kubectl kustomize "$platform") || fail "$platform cannot be rendered, see above"
  awk '{ one = one $0 "\n" } /^kind: Namespace$/ { wanted = 1 }
       /^---$/ { if (wanted) printf "%s", one; one = ""; wanted = 0 } END { if (wanted) printf "%s", one }' <<<"$all" |
    applied namespaces kubectl apply --server-side --filename -
}

# An earlier teardown may still run, and nothing can be made in a namespace that is being deleted.
nothing_goes() {
  local phases
  phases=$(kubectl get namespaces keda nats keda-jobs-prod keda-jobs-test --ignore-not-found --output 'jsonpath={.items[*].status.phase}')
  [[ $phases != *Terminating* ]]
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

check_prerequisites
nothing_goes || await 300 "the last teardown to end" "kubectl get namespaces" nothing_goes
install_keda
make_namespaces
make_nats_users
make_secrets
applied "platform ($overlay)" kubectl apply --server-side --kustomize "$platform"
wait_for_nats
if [ "$overlay" = test ]; then wait_for_test_servers; fi
load_nats_users
declare_streams
apply_schemas
say_what_is_next
