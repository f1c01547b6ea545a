#!/usr/bin/env bash
# Sourced by setup-all.sh and teardown-all.sh: KEDA in a fixed version, unless somebody else has installed one.
# shellcheck disable=SC2034,SC2154  # variables of the script that sources it

readonly KEDA_VERSION=2.21.0
readonly KEDA_SHA256=b43c89ffeef81722d7e2dd2c079d74789767a0f89cae1336cff784994814f6d7
readonly KEDA_URL=https://github.com/kedacore/keda/releases/download/v$KEDA_VERSION/keda-$KEDA_VERSION.yaml
readonly KEDA_FLOOR=2.20.2 # older ones scale a missing consumer to the maximum, and refuse scalingStrategy
# Annotation of namespace keda: the version that this script installed and teardown-all.sh may remove.
readonly KEDA_MARK=keda-jobs/installed-keda
# Label of KEDA's namespace, wherever that is: policies let its operator reach NATS and PostgreSQL.
readonly KEDA_LABEL=keda-jobs/keda
# Label of the rights of people on call in that namespace.
readonly KEDA_READERS=keda-jobs/part=keda-readers
readonly METRICS_API=v1beta1.external.metrics.k8s.io

# Print namespace and version of the operator, nothing where there is none.
keda_found() {
  kubectl get deployments --all-namespaces --field-selector metadata.name=keda-operator --output \
    jsonpath='{range .items[*]}{.metadata.namespace}|{.metadata.labels.app\.kubernetes\.io/version}|{.spec.template.spec.containers[0].image}{"\n"}{end}' |
    awk -F'|' 'NR == 1 { image = $3; sub(/@.*/, "", image); version = $2 ? $2 : image
                         sub(/.*:/, "", version); sub(/^v/, "", version)
                         print $1, (version ~ /^[0-9]+[.][0-9]/ ? version : "") }'
}

# The mark stays when somebody replaces our KEDA by their own in the same namespace. Ours has no other manager.
keda_is_ours() {
  local mark manager
  mark=$(kubectl get namespace keda --ignore-not-found --output jsonpath="{.metadata.annotations.${KEDA_MARK//./\\.}}")
  manager=$(kubectl get deployment keda-operator --namespace keda --ignore-not-found --output \
    jsonpath='{.metadata.labels.app\.kubernetes\.io/managed-by}')
  [ -n "$mark" ] && [ -z "$manager" ]
}

# Print NAMESPACE/SERVICE of the adapter that serves external metrics, nothing where there is none.
metrics_adapter() {
  kubectl get apiservice "$METRICS_API" --ignore-not-found --output jsonpath='{.spec.service.namespace}/{.spec.service.name}'
}

# Print the version to install: the one of KEDA_MANIFEST, else the one above.
keda_wanted() {
  if [ -z "${KEDA_MANIFEST:-}" ]; then
    echo "$KEDA_VERSION"
  else
    awk '$1 == "app.kubernetes.io/version:" { print $2; exit }' "$KEDA_MANIFEST"
  fi
}

keda_api_is_there() {
  kubectl wait --for=condition=Available --timeout=1s "apiservice/$METRICS_API"
}

# Uses keda_namespace, keda_version and keda_to_install of prerequisites.sh.
install_keda() {
  if [ -n "$keda_to_install" ]; then
    say "KEDA: installing $keda_to_install"
    apply_keda "$keda_to_install"
    keda_namespace=keda keda_version=$keda_to_install
  fi
  kubectl label namespace "$keda_namespace" --overwrite "$KEDA_LABEL=true" >/dev/null
  kubectl apply --server-side --namespace "$keda_namespace" --filename "$here/keda-readers.yaml" >/dev/null
  if ! keda_is_ours; then
    say "KEDA: $keda_version in $keda_namespace is somebody else's and left alone"
    return
  fi
  local part
  for part in keda-operator keda-metrics-apiserver keda-admission; do rolled_out keda "deployment/$part" 300; done
  await 180 "KEDA's metrics API" "kubectl describe apiservice $METRICS_API" keda_api_is_there
  say "KEDA: $keda_version is ready"
}

apply_keda() {
  local manifest=${KEDA_MANIFEST:-}
  if [ -z "$manifest" ]; then
    manifest=$downloads/keda.yaml
    download_keda "$manifest"
  fi
  # Mark it first, so that an interrupted installation counts as ours too.
  kubectl get namespace keda >/dev/null 2>&1 || kubectl create namespace keda >/dev/null
  kubectl annotate namespace keda --overwrite "$KEDA_MARK=$1" >/dev/null
  applied KEDA kubectl apply --server-side --force-conflicts --filename "$manifest"
}

download_keda() {
  curl --fail --silent --show-error --location --retry 3 --output "$1" "$KEDA_URL" ||
    fail "KEDA could not be downloaded from $KEDA_URL, bring the file: KEDA_MANIFEST=<file>"
  [ "$(digest <"$1")" = "$KEDA_SHA256" ] || fail "$KEDA_URL has changed: its SHA-256 is not $KEDA_SHA256"
}

digest() { python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }
