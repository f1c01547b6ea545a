#!/usr/bin/env bash
# Sourced by setup-all.sh: check everything that it needs at once, and change nothing.
# shellcheck disable=SC2154  # variables of the script that sources it

readonly KUBERNETES_FLOOR=1.29
missing=0

has() { echo "  ✓ $1"; }
lacks() {
  echo "  ✗ $1"
  echo "      $2"
  missing=$((missing + 1))
}

# needs_program PROGRAM WHAT-TO-DO
needs_program() {
  if command -v "$1" >/dev/null; then has "$1"; else lacks "$1 is not installed" "$2"; fi
}

check_prerequisites() {
  say "prerequisites"
  needs_program keda-jobs "run: make setup"
  if ! command -v kubectl >/dev/null; then
    lacks "kubectl is not installed" "run: make setup"
  elif check_server; then
    check_rights
    check_storage
    check_keda
  fi
  check_env_file
  [ "$missing" -eq 0 ] || fail "$missing of the prerequisites are missing, see above. Nothing was changed"
}

check_server() {
  local client server
  client=$(kubectl version --client -o json | sed -n 's/.*"gitVersion": "v\(.*\)".*/\1/p')
  has "kubectl $client"
  context=$(kubectl config current-context 2>/dev/null) || context="(none)"
  if ! server=$(kubectl version -o json --request-timeout=10s 2>/dev/null); then
    lacks "the cluster of context $context does not answer" "pick another: kubectl config get-contexts, or KUBECONFIG=<file>"
    return 1
  fi
  server=$(sed -n '/"serverVersion"/,$s/.*"gitVersion": "v\(.*\)".*/\1/p' <<<"$server")
  if at_least "$server" "$KUBERNETES_FLOOR"; then
    has "context $context, Kubernetes $server"
  else
    lacks "context $context has Kubernetes $server" "upgrade it to $KUBERNETES_FLOOR or later"
  fi
}

check_rights() {
  if kubectl auth can-i '*' '*' --all-namespaces --quiet 2>/dev/null; then
    has "you are a cluster admin"
  else
    lacks "you are not a cluster admin" "use a context of one: the setup makes namespaces, roles and CRDs"
  fi
}

check_storage() {
  local path='{range .items[*]}{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{"\n"}{end}'
  if kubectl get storageclasses -o jsonpath="$path" | grep -qx true; then
    has "default StorageClass"
  else
    lacks "no default StorageClass, which the disk of NATS needs" \
      "mark one: kubectl annotate storageclass <name> storageclass.kubernetes.io/is-default-class=true"
  fi
}

check_keda() {
  local namespace version
  read -r namespace version < <(keda_found) || true
  if [ -z "$namespace" ]; then
    check_keda_source
  elif keda_is_ours; then
    has "KEDA $version, installed by this script"
    [ "$version" = "$(keda_wanted)" ] || check_keda_source
  elif at_least "${version:-0}" "$KEDA_FLOOR"; then
    has "KEDA $version, installed by somebody else in $namespace, is left alone"
    [ "$namespace" = keda ] || echo "      it must reach NATS: add namespace $namespace to k8s/nats/network-policy.yaml"
  else
    lacks "KEDA ${version:-of an unknown version} in $namespace is too old" "upgrade it to $KEDA_FLOOR or later"
  fi
}

check_keda_source() {
  if [ -z "${KEDA_MANIFEST:-}" ]; then
    needs_program curl "install it, or bring KEDA's manifest: KEDA_MANIFEST=<file>"
  elif [ -r "$KEDA_MANIFEST" ]; then
    has "KEDA is not installed, $KEDA_MANIFEST is used (its checksum is not checked)"
  else
    lacks "KEDA_MANIFEST=$KEDA_MANIFEST cannot be read" "name a file, or leave it unset to download KEDA $KEDA_VERSION"
  fi
}

check_env_file() {
  local faults line
  if [ ! -e "$ENV_FILE" ]; then
    if [ "$overlay" = test ]; then has "no $env_file yet, one is made for the test servers"; else has "no $env_file, so no secrets for now"; fi
  elif ! command -v keda-jobs >/dev/null; then
    return 0
  elif faults=$(python -m cluster.secrets check "$overlay" 2>&1); then
    has "$env_file"
  else
    while read -r line; do lacks "$env_file: $line" "edit it, k8s/.env.template explains each line"; done <<<"$faults"
  fi
}
