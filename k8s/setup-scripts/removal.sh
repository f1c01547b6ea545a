#!/usr/bin/env bash
# Sourced by teardown-all.sh after progress.sh and keda.sh: remove the parts one after the other.
# shellcheck disable=SC2154  # variables of the script that sources it

readonly OURS=app.kubernetes.io/part-of=keda-jobs
readonly KEDAS=app.kubernetes.io/part-of=keda-operator
readonly SCALED=scaledobjects.keda.sh,scaledjobs.keda.sh
readonly WITH_FINALIZERS=$SCALED,triggerauthentications.keda.sh
# What belongs to another object is deleted with it.
readonly OWNED='^(events|endpoints|endpointslices|pods|replicasets|controllerrevisions)(\.|$)'
readonly KEPT='^(namespaces|persistentvolumes)$'

keda_crds_are_there() { kubectl get crd scaledobjects.keda.sh scaledjobs.keda.sh >/dev/null 2>&1; }

scaled_of_others() {
  if ! keda_crds_are_there; then return; fi
  kubectl get "$SCALED" --all-namespaces --no-headers --output custom-columns=:.metadata.namespace,:.metadata.name |
    awk '$1 != "keda-jobs-prod" { printf "%s%s/%s", comma, $1, $2; comma = ", " }'
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
  if ! keda_crds_are_there; then return; fi
  say "removing ScaledObjects and ScaledJobs"
  if kubectl delete "$WITH_FINALIZERS" --all --namespace keda-jobs-prod --timeout=90s >/dev/null; then return; fi
  say "KEDA does not release them, removing its finalizers"
  local one
  for one in $(kubectl get "$WITH_FINALIZERS" --namespace keda-jobs-prod --output name); do
    kubectl patch "$one" --namespace keda-jobs-prod --type merge --patch '{"metadata":{"finalizers":null}}' >/dev/null
  done
}

# delete_labelled LABEL NAMESPACED EXCEPT: delete every object with the label, except kinds that match EXCEPT.
delete_labelled() {
  local kinds everywhere=()
  # It exits with 1 when one API does not answer, and still lists all others.
  kinds=$(kubectl api-resources --verbs=list,delete --namespaced="$2" --output name || true)
  kinds=$(grep -vE "$3" <<<"$kinds" | paste -sd, -)
  if $2; then everywhere=(--all-namespaces); fi
  kubectl delete "$kinds" "${everywhere[@]}" --selector "$1" --cascade=foreground --timeout=300s
}

remove_platform() {
  local except=$OWNED
  if ! $delete_data; then except="$except|^persistentvolumeclaims"; fi
  removed platform delete_labelled "$OURS" true "$except"
  removed "platform, cluster-wide" delete_labelled "$OURS" false "$KEPT"
}

remove_keda() {
  if ! keda_is_ours || [ -n "$(scaled_of_others)" ]; then return; fi
  # Its API first: while that does not answer, no namespace can be removed.
  kubectl delete apiservice v1beta1.external.metrics.k8s.io --ignore-not-found >/dev/null
  removed KEDA delete_labelled "$KEDAS" true "$OWNED"
  removed "KEDA, cluster-wide" delete_labelled "$KEDAS" false "$KEPT"
  remove_namespaces keda
}

remove_namespaces() {
  say "removing namespace $*"
  kubectl delete namespace "$@" --ignore-not-found --timeout=300s >/dev/null ||
    fail "$* cannot be removed" "kubectl get namespace $1 -o yaml, which shows what is left in it"
}

remove_data() {
  if $delete_data; then
    remove_namespaces nats
    say_retained_volumes
  elif kubectl get namespace nats >/dev/null 2>&1; then
    say "kept: namespace nats with the events in $(kubectl get persistentvolumeclaims --namespace nats --output name | paste -sd ' ' -)"
  fi
}

# They belong to the cluster, and their own policy wants somebody to look at them first.
say_retained_volumes() {
  local volume
  kubectl get persistentvolumes --no-headers \
    --output custom-columns=:.metadata.name,:.spec.claimRef.namespace,:.spec.persistentVolumeReclaimPolicy |
    awk '$2 == "nats" && $3 == "Retain" { print $1 }' | while read -r volume; do
    say "volume $volume has the policy Retain. To delete it with its data: kubectl delete persistentvolume $volume"
  done
}
