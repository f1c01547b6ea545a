#!/usr/bin/env bash
# Sourced by setup-all.sh and teardown-all.sh: KEDA in a fixed version, unless somebody else has installed one.
# shellcheck disable=SC2034,SC2154  # variables of the script that sources it

readonly KEDA_VERSION=2.21.0
readonly KEDA_SHA256=b43c89ffeef81722d7e2dd2c079d74789767a0f89cae1336cff784994814f6d7
readonly KEDA_URL=https://github.com/kedacore/keda/releases/download/v$KEDA_VERSION/keda-$KEDA_VERSION.yaml
readonly KEDA_FLOOR=2.20.2 # older ones scale a missing consumer to the maximum, and refuse scalingStrategy
# Annotation of namespace keda: the version that this script installed and teardown-all.sh may remove.
readonly KEDA_MARK=keda-jobs/installed-keda

# Print namespace and version of the operator, nothing where there is none.
keda_found() {
  kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=keda-operator --output \
    jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.labels.app\.kubernetes\.io/version}{"\n"}{end}' | head -n 1
}

keda_is_ours() {
  local mark
  mark=$(kubectl get namespace keda --ignore-not-found --output jsonpath="{.metadata.annotations.${KEDA_MARK//./\\.}}")
  [ -n "$mark" ]
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
  kubectl wait --for=condition=Available --timeout=1s apiservice/v1beta1.external.metrics.k8s.io
}

install_keda() {
  local wanted
  wanted=$(keda_wanted)
  if [ -n "$(keda_found)" ] && ! keda_is_ours; then
    say "KEDA: installed by somebody else, left alone"
    return
  fi
  if [ "$(keda_found)" != "keda $wanted" ]; then
    say "KEDA: installing $wanted"
    apply_keda "$wanted"
  fi
  local part
  for part in keda-operator keda-metrics-apiserver keda-admission; do rolled_out keda "deployment/$part" 300; done
  await 180 "KEDA's metrics API" "kubectl describe apiservice v1beta1.external.metrics.k8s.io" keda_api_is_there
  say "KEDA: $wanted is ready"
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
