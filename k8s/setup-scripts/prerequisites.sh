#!/usr/bin/env bash
# Sourced by setup-all.sh: check everything that it needs at once, and change nothing.
# shellcheck disable=SC2034,SC2153,SC2154  # variables of the script that sources it

readonly KUBERNETES_FLOOR=1.30 # ValidatingAdmissionPolicy
missing=0
# What is there, and the version that install_keda has to install, if any.
keda_namespace='' keda_version='' keda_to_install=''

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
  if ! type -P kubectl >/dev/null; then
    lacks "kubectl is not installed" "run: make setup"
  elif check_server && command -v keda-jobs >/dev/null; then
    check_cluster
  fi
  if has_part namespaces; then check_env_file; fi
  [ "$missing" -eq 0 ] || fail "$missing of the prerequisites are missing, see above. Nothing was changed"
}

check_server() {
  local client version
  client=$(kubectl version --client -o json | sed -n 's/.*"gitVersion": "v\(.*\)".*/\1/p')
  has "kubectl $client"
  if ! version=$(kubectl version -o json --request-timeout=10s 2>/dev/null); then
    lacks "the cluster of context $context does not answer" "pick another: kubectl config get-contexts, or KUBECONFIG=<file>"
    return 1
  fi
  version=$(sed -n '/"serverVersion"/,$s/.*"gitVersion": "v\(.*\)".*/\1/p' <<<"$version")
  if at_least "$version" "$KUBERNETES_FLOOR"; then
    has "context $context, Kubernetes $version"
  else
    lacks "context $context has Kubernetes $version" "upgrade it to $KUBERNETES_FLOOR or later"
  fi
}

check_cluster() {
  local names
  rendered=$(kubectl kustomize "$platform") || fail "$platform cannot be rendered, see above"
  names=$(overlay names) || fail "$platform cannot be read, see above"
  read -r -a namespaces <<<"$names"
  if has_part cluster; then check_keda; else check_first_part; fi
  check_rights
  check_strangers
  if has_part namespaces; then
    check_storage
    check_disks
    check_certificates
    check_ports
  fi
}

# Where another adapter serves external metrics, KEDA's manifest would take its API away.
check_keda() {
  local found adapter
  if ! { found=$(keda_found) && adapter=$(metrics_adapter); }; then
    lacks "KEDA cannot be looked for, see above" "use a context that may list Deployments everywhere and read APIServices"
    return
  fi
  read -r keda_namespace keda_version <<<"$found" || true
  if [ -n "$adapter" ] && [ "${adapter%%/*}" != "${keda_namespace:-keda}" ]; then
    lacks "external metrics are served by another adapter, $adapter, and a cluster has one" \
      "use another cluster, or move its metrics to scalers of KEDA, then: kubectl delete apiservice $METRICS_API"
  elif keda_is_ours; then
    check_own_keda
  elif [ -z "$keda_namespace" ]; then
    check_room_for_keda
  elif at_least "${keda_version:-0}" "$KEDA_FLOOR"; then
    has "KEDA $keda_version, installed by somebody else in $keda_namespace, is left alone"
  else
    lacks "KEDA ${keda_version:-of an unknown version} in $keda_namespace is too old" \
      "upgrade it to $KEDA_FLOOR or later, the way it was installed"
  fi
}

check_own_keda() {
  local wanted
  wanted=$(keda_wanted)
  if [ -n "$keda_version" ] && at_least "$keda_version" "$wanted"; then
    has "KEDA $keda_version, installed by this script"
  else
    check_keda_source
  fi
}

check_room_for_keda() {
  # One that is being deleted is waited for.
  if [ "$(kubectl get namespace keda --ignore-not-found --output 'jsonpath={.status.phase}')" = Active ]; then
    lacks "there is a namespace keda without a KEDA, and teardown-all.sh would remove it" \
      "install KEDA in it yourself, or if nothing is in it: kubectl delete namespace keda"
  elif kubectl get crd scaledobjects.keda.sh >/dev/null 2>&1; then
    lacks "there are CRDs of KEDA, and no Deployment keda-operator" \
      "install KEDA $KEDA_FLOOR or later, or if nobody uses them: kubectl delete crd -l app.kubernetes.io/part-of=keda-operator"
  else
    check_keda_source
  fi
}

check_keda_source() {
  keda_to_install=$KEDA_VERSION
  if [ -z "${KEDA_MANIFEST:-}" ]; then
    needs_program curl "install it, or bring KEDA's manifest: KEDA_MANIFEST=<file>"
  elif [ -r "$KEDA_MANIFEST" ]; then
    keda_to_install=$(keda_wanted)
    has "KEDA will be installed from $KEDA_MANIFEST (its checksum is not checked)"
  else
    lacks "KEDA_MANIFEST=$KEDA_MANIFEST cannot be read" "name a file, or leave it unset to download KEDA $KEDA_VERSION"
  fi
}

# check_first_part: what an administrator has to do before the part of the namespaces.
check_first_part() {
  local one labelled missing_parts=()
  kubectl api-versions | grep -qx keda.sh/v1alpha1 || missing_parts+=(KEDA)
  for one in "${namespaces[@]}"; do
    kubectl get namespace "$one" >/dev/null 2>&1 || missing_parts+=("namespace $one")
  done
  # Not everybody may list namespaces.
  if labelled=$(kubectl get namespaces --selector "$KEDA_LABEL" --output name 2>/dev/null) && [ -z "$labelled" ]; then
    missing_parts+=("the label $KEDA_LABEL of KEDA's namespace")
  fi
  if [ ${#missing_parts[@]} -eq 0 ]; then
    has "KEDA and the namespaces"
  else
    lacks "missing: $(joined "${missing_parts[@]}")" "an administrator of the cluster runs this with --part cluster"
  fi
}

check_rights() {
  local one denied=()
  if [ -n "$keda_to_install" ]; then
    may '*' '*' || denied+=("everything, which the installation of KEDA needs")
  fi
  if has_part cluster; then
    for one in namespaces validatingadmissionpolicies.admissionregistration.k8s.io; do
      may patch "$one" || denied+=("patch $one")
    done
    for one in "${namespaces[@]}"; do may_all "$one" patch resourcequotas limitranges roles.rbac.authorization.k8s.io; done
  fi
  if has_part namespaces; then
    for one in "${namespaces[@]}"; do
      may_all "$one" patch secrets services statefulsets.apps deployments.apps networkpolicies.networking.k8s.io
      may_all "$one" create pods/exec pods/portforward
    done
  fi
  if [ ${#denied[@]} -eq 0 ]; then
    has "rights for this"
  else
    lacks "you may not: $(joined "${denied[@]}")" \
      "use another context. --part cluster needs an administrator, --part namespaces the ClusterRole admin in each namespace"
  fi
}

# may VERB RESOURCE [NAMESPACE]
may() { kubectl auth can-i "$1" "$2" ${3:+--namespace "$3"} --quiet 2>/dev/null; }

# may_all NAMESPACE VERB RESOURCE…: add to the array `denied` of the caller.
may_all() {
  local resource
  for resource in "${@:3}"; do may "$2" "$resource" "$1" || denied+=("$2 $resource in $1"); done
}

# Ours would overwrite it or cut it off, and teardown-all.sh would remove it.
check_strangers() {
  local found taken namespace things
  { found=$(overlay foreign) && taken=$(overlay taken); } || {
    lacks "the namespaces cannot be looked into, see above" "use a context that may list what is in ${namespaces[*]}"
    return
  }
  while read -r namespace things; do
    [ -z "$namespace" ] || lacks "namespace $namespace belongs to the environment $things" \
      "name another in k8s/kustomize/overlays/$ENV/environment/environment.env, or take $things away first, with its events: see the end of k8s/README.md"
  done <<<"$taken"
  [ -n "$found" ] || has "nothing of others in $(joined "${namespaces[@]}")"
  while read -r namespace things; do
    case $things in
      '') ;;
      Namespace*)
        lacks "namespace $namespace is not ours: $things" \
          "use another cluster, or remove it. If it is empty and meant for this: kubectl label namespace $namespace $MARK"
        ;;
      *) lacks "namespace $namespace has objects of others that setup would overwrite: $things" "use another cluster, or move them" ;;
    esac
  done <<<"$found"
}

check_storage() {
  if [ -z "$NATS_NAMESPACE" ]; then return; fi
  local path='{range .items[*]}{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{"\n"}{end}' classes
  if ! classes=$(kubectl get storageclasses -o jsonpath="$path" 2>/dev/null); then
    has "StorageClasses, which you may not list: there must be a default one"
  elif grep -qx true <<<"$classes"; then
    has "default StorageClass"
  else
    lacks "no default StorageClass, which the disk of NATS needs" \
      "mark one: kubectl annotate storageclass <name> storageclass.kubernetes.io/is-default-class=true"
  fi
}

# NATS would begin with empty streams, and the events would stay where no server reads them.
check_disks() {
  local disks
  if ! disks=$(overlay disks); then
    lacks "the volumes of NATS cannot be looked for, see above" "use a context that may list persistentvolumeclaims in $NATS_NAMESPACE"
  elif [ -n "$disks" ]; then
    lacks "the events are on $disks, where another number of NATS servers than that of k8s/kustomize/overlays/$ENV keeps them" \
      "put the component nats-cluster back to what it was, or move the events: docs/day-two.md#one-nats-server-to-three"
  fi
}

check_certificates() {
  local found line
  found=$(python -m cluster.certificates check <<<"$rendered") || {
    lacks "the certificates cannot be looked for, see above" "use a context that may read the secrets of ${namespaces[*]}"
    return
  }
  while read -r line; do
    [ -z "$line" ] || lacks "there is no $line, the certificate of a server with TLS" \
      "run k8s/setup-scripts/certificates.sh, or let cert-manager make it: docs/tls.md"
  done <<<"$found"
}

check_ports() {
  local found line
  found=$(python -m cluster.routes <<<"$rendered" 2>/dev/null) || return 0 # check_env_file says why
  while read -r line; do
    [ -z "$line" ] || lacks "$line" "add it, with the addresses behind it, to a policy in k8s/kustomize/overlays/$ENV"
  done <<<"$found"
}

check_env_file() {
  local faults line
  if [ ! -e "$ENV_FILE" ]; then
    if [ -n "$TEST_NAMESPACE" ]; then has "no $env_file yet, one is made for the test servers"; else has "no $env_file, so no secrets for now"; fi
  elif ! command -v keda-jobs >/dev/null; then
    return 0
  elif faults=$(python -m cluster.secrets check 2>&1); then
    has "$env_file"
  else
    while read -r line; do lacks "$env_file: $line" "edit it, k8s/.env.template explains each line"; done <<<"$faults"
  fi
}
