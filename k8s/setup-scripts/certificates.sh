#!/usr/bin/env bash
# Make certificates of the environment's servers with TLS, after asking, from an authority of its own: NATS, and servers
# for trying it out. For tests, and for clusters where nothing else makes them, such as cert-manager: docs/tls.md.
# A second run renews those that end within 60 days or have other hosts, and leaves alone what somebody else made.
# The authority and its key are in k8s/.certificates/<ENV> on this machine. Keep them: another one makes clients restart.
# Usage: k8s/setup-scripts/certificates.sh [--yes]
# Environment: ENV (default prod), KUBECONFIG as for setup-all.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$(dirname "$0")/progress.sh"

read_yes "$@"
needs_setup
use_environment
find_cluster
rendered=$(kubectl kustomize "$root/k8s/kustomize/overlays/$ENV") || fail "the overlay of $ENV cannot be rendered, see above"
say "context $context at $server, environment $ENV: this makes its namespaces, and certificates where they are due"
authority=k8s/.certificates/$ENV
[ -e "$root/$authority/ca.key" ] || say "there is no authority in $authority yet, one is made"
confirm "nothing was changed"
python -m cluster.certificates make <<<"$rendered"
