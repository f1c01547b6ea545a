#!/usr/bin/env bash
# Sourced by teardown-all.sh after progress.sh and keda.sh: remove the parts one after the other.
# shellcheck disable=SC2154  # variables of the script that sources it

readonly KEDAS=app.kubernetes.io/part-of=keda-operator
readonly SCALED=scaledobjects.keda.sh,scaledjobs.keda.sh
readonly WITH_FINALIZERS=$SCALED,triggerauthentications.keda.sh
# What belongs to another object is deleted with it.
readonly OWNED='^(events|endpoints|endpointslices|pods|replicasets|controllerrevisions)(\.|$)'
readonly KEPT='^(namespaces|persistentvolumes|apiservices.apiregistration.k8s.io)$'

# Print the namespaces that setup-all.sh made for this environment. One without our label is somebody else's.
our_namespaces() {
  kubectl get namespaces --selector "$MARK" --no-headers \
    --output "custom-columns=:.metadata.name,:.metadata.labels.${ENVIRONMENT_LABEL//./\\.}" |
    awk -v env="$ENV" -v own=" $JOBS_NAMESPACE $NATS_NAMESPACE $TEST_NAMESPACE " '
      $2 == env || $2 == "<none>" && index(own, " " $1 " ") { print $1 }'
}

# Print the namespaces where other environments have their jobs, separated by blanks.
others_of_ours() {
  kubectl get namespaces --selector "$MARK,keda-jobs/part=jobs,$ENVIRONMENT_LABEL!=$ENV" --output 'jsonpath={.items[*].metadata.name}'
}

# Print what is ours, belongs to this environment and to no namespace, as KIND/NAME.
our_cluster_wide() {
  local kinds
  kinds=$(kinds_except "$KEPT" false) || return
  kubectl get "$kinds" --selector "$MARK,$ENVIRONMENT_LABEL=$ENV" --output name
}

# strangers_in NAMESPACE: print what others run or store there, with commas.
strangers_in() {
  kubectl get statefulsets,deployments,daemonsets,persistentvolumeclaims --namespace "$1" --selector "${MARK/=/!=}" --output name | paste -sd, - |
    sed 's/,/, /g'
}

keda_crds_are_there() { kubectl get crd scaledobjects.keda.sh scaledjobs.keda.sh >/dev/null 2>&1; }

scaled_of_others() {
  if ! keda_crds_are_there; then return; fi
  kubectl get "$SCALED" --all-namespaces --no-headers --output \
    'custom-columns=:.metadata.namespace,:.metadata.name,:.metadata.labels.app\.kubernetes\.io/part-of' |
    awk -v jobs="$JOBS_NAMESPACE" '$1 != jobs || $3 != "keda-jobs" { printf "%s%s/%s", comma, $1, $2; comma = ", " }'
}

# removed WHAT COMMAND…: delete, and say how many objects were removed.
removed() {
  local lines
  say "removing $1"
  lines=$("${@:2}") || fail "$1: not everything could be removed, see above. Run it again"
  say "$1: $(grep -c deleted <<<"$lines" || true) removed"
}

# KEDA removes its finalizers from them, so delete them while it runs. If it is dead, remove the finalizers here.
remove_scaled() {
  if ! keda_crds_are_there || ! grep -qx "$JOBS_NAMESPACE" <<<"$ours"; then return; fi
  say "removing ScaledObjects and ScaledJobs"
  if kubectl delete "$WITH_FINALIZERS" --selector "$MARK" --namespace "$JOBS_NAMESPACE" --timeout=90s >/dev/null; then return; fi
  say "KEDA does not release them, removing its finalizers"
  local one
  for one in $(kubectl get "$WITH_FINALIZERS" --selector "$MARK" --namespace "$JOBS_NAMESPACE" --output name); do
    kubectl patch "$one" --namespace "$JOBS_NAMESPACE" --type merge --patch '{"metadata":{"finalizers":null}}' >/dev/null
  done
}

# kinds_except EXCEPT NAMESPACED: print the kinds that can be listed and deleted, except those that match EXCEPT.
kinds_except() {
  local kinds
  # It exits with 1 when one API does not answer, and still lists all others.
  kinds=$(kubectl api-resources --verbs=list,delete --namespaced="$2" --output name || true)
  grep -vE "$1" <<<"$kinds" | paste -sd, -
}

# delete_labelled LABEL EXCEPT NAMESPACE: delete every object with the label, except kinds that match EXCEPT. Without a
# NAMESPACE, of the kinds that have none.
delete_labelled() {
  local kinds
  kinds=$(kinds_except "$2" "$([ -n "${3:-}" ] && echo true || echo false)")
  kubectl delete "$kinds" ${3:+--namespace "$3"} --selector "$1" --cascade=foreground --timeout=300s
}

remove_platform() {
  local one except=$OWNED
  if ! $delete_data; then except="$except|^persistentvolumeclaims"; fi
  for one in $ours; do removed "what is ours in $one" delete_labelled "$MARK" "$except" "$one"; done
  removed "what is ours, cluster-wide" delete_labelled "$MARK,$ENVIRONMENT_LABEL=$ENV" "$KEPT"
}

# One with volumes, which hold the events, stays without --delete-data, and one with workloads of others in any case.
remove_our_namespaces() {
  local one strangers claims
  for one in $ours; do
    strangers=$(strangers_in "$one")
    claims=$(kubectl get persistentvolumeclaims --namespace "$one" --output name | paste -sd ' ' -)
    if [ -n "$strangers" ]; then
      say "kept: namespace $one, because others have $strangers in it"
    elif [ -n "$claims" ] && ! $delete_data; then
      say "kept: namespace $one with the events in $claims"
    else
      remove_namespace "$one"
    fi
  done
  if $delete_data; then say_retained_volumes; fi
}

remove_keda() {
  if [ -z "$keda_stays" ]; then
    # Its API first: while that does not answer, no namespace can be removed.
    if [[ $(metrics_adapter) == keda/* ]]; then kubectl delete apiservice "$METRICS_API" >/dev/null; fi
    removed KEDA delete_labelled "$KEDAS" "$OWNED" keda
    removed "KEDA, in kube-system" delete_labelled "$KEDAS" "$OWNED" kube-system
    removed "KEDA, cluster-wide" delete_labelled "$KEDAS" "$KEPT"
    remove_namespace keda
  elif [ -z "$others" ]; then
    kubectl label namespaces --selector "$KEDA_LABEL" "$KEDA_LABEL-" >/dev/null
    kubectl delete roles,rolebindings --all-namespaces --selector "$KEDA_READERS" >/dev/null
  fi
}

remove_namespace() {
  say "removing namespace $1"
  kubectl delete namespace "$1" --ignore-not-found --timeout=300s >/dev/null ||
    fail "$1 cannot be removed" "kubectl get namespace $1 -o yaml, which shows what is left in it"
}

# They belong to the cluster, and their own policy wants somebody to look at them first.
say_retained_volumes() {
  local volume
  kubectl get persistentvolumes --no-headers \
    --output custom-columns=:.metadata.name,:.spec.claimRef.namespace,:.spec.persistentVolumeReclaimPolicy |
    awk -v ours=" ${ours//$'\n'/ } " 'index(ours, " " $2 " ") && $3 == "Retain" { print $1 }' | while read -r volume; do
    say "volume $volume has the policy Retain. To delete it with its data: kubectl delete persistentvolume $volume"
  done
}
