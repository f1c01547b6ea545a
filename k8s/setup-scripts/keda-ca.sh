#!/usr/bin/env bash
# Let KEDA trust the authorities in the ConfigMap `ca` of the environment, after asking: it looks into PostgreSQL itself.
# Needed with the component postgres-ca, and again when the authorities change. KEDA's operator restarts when they do.
# Usage: k8s/setup-scripts/keda-ca.sh [--yes]
# Environment: ENV (default prod), KUBECONFIG as for setup-all.sh
# Other environments in the cluster keep theirs. A KEDA that setup-all.sh did not install is left alone: docs/tls.md says
# what to set there.
# shellcheck disable=SC2034,SC2154  # variables of the scripts that it sources
set -euo pipefail
here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$here/progress.sh"
# shellcheck source-path=SCRIPTDIR source=keda.sh
source "$here/keda.sh"

readonly NAME=keda-jobs-ca
read_yes "$@"
needs_setup
use_environment
find_cluster
keda_is_ours || fail "there is no KEDA that setup-all.sh installed, and others are left alone" "docs/tls.md"
authorities=$(kubectl get configmap ca --namespace "$JOBS_NAMESPACE" --output 'jsonpath={.data.ca\.crt}') ||
  fail "there is no ConfigMap ca in $JOBS_NAMESPACE" "k8s/setup-scripts/certificates.sh, or docs/tls.md"
say "context $context at $server: this makes KEDA trust the authorities of $ENV for every server that it asks"
confirm "nothing was changed"

# A field manager for each environment, so that none takes away what another one has put in.
kubectl apply --server-side --field-manager "$NAME-$ENV" --filename - >/dev/null <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: $NAME
  namespace: keda
  labels: {app.kubernetes.io/part-of: keda-jobs}
data:
  $ENV.crt: |
$(awk '{ print "    " $0 }' <<<"$authorities")
YAML
every=$(kubectl get configmap "$NAME" --namespace keda --output 'jsonpath={.data}' | digest)
# Go's programs read SSL_CERT_DIR beside the file of the system's authorities: KEDA's driver of PostgreSQL, and its HTTP.
kubectl apply --server-side --field-manager "$NAME" --filename - >/dev/null <<YAML
apiVersion: apps/v1
kind: Deployment
metadata:
  name: keda-operator
  namespace: keda
spec:
  template:
    metadata:
      annotations: {keda-jobs/authorities: "$every"}
    spec:
      containers:
        - name: keda-operator
          env:
            - {name: SSL_CERT_DIR, value: /etc/keda-jobs/ca}
          volumeMounts:
            - {name: $NAME, mountPath: /etc/keda-jobs/ca, readOnly: true}
      volumes:
        - {name: $NAME, configMap: {name: $NAME}}
YAML
rolled_out keda deployment/keda-operator 300
say "KEDA trusts the authorities of $ENV"
