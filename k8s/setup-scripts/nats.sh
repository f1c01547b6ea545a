#!/usr/bin/env bash
# Sourced by setup-all.sh: users of NATS, loaded without a restart, and the stream with its consumers.
# shellcheck disable=SC2154  # variables of the script that sources it

# Annotation of Secret nats-auth: the checksum of the users that the servers have loaded.
readonly AUTH_MARK=keda-jobs/read-by-servers

make_nats_users() {
  local existing wanted one
  existing=$(for one in "${namespaces[@]}"; do
    kubectl get secrets --namespace "$one" --selector keda-jobs/nats-user --output json || exit
  done) || fail "the users of NATS could not be read, see above"
  wanted=$(printf '%s' "$existing" | python "$root/tools/nats_users.py") || fail "the users of NATS could not be made, see above"
  printf '%s' "$wanted" | applied "NATS users" kubectl apply --server-side --filename -
}

wait_for_nats() {
  rolled_out nats statefulset/nats 600
  say "NATS: ready"
}

auth_wanted() {
  kubectl get secret nats-auth --namespace nats --output 'go-template={{index .data "auth.conf" | base64decode}}' | digest
}

auth_read() {
  kubectl get secret nats-auth --namespace nats --output "jsonpath={.metadata.annotations.${AUTH_MARK//./\\.}}"
}

# auth_is_in POD CHECKSUM: succeed if the kubelet has put the file with this checksum into the pod.
auth_is_in() {
  [ "$(kubectl exec --namespace nats "$1" --container nats -- cat /etc/nats/auth/auth.conf | digest)" = "$2" ]
}

load_nats_users() {
  local wanted pod
  wanted=$(auth_wanted)
  if [ "$wanted" = "$(auth_read)" ]; then return; fi
  for pod in $(kubectl get pods --namespace nats --selector app=nats --output name); do
    await 120 "the users to reach ${pod#pod/}" "kubectl -n nats describe ${pod#pod/}" auth_is_in "$pod" "$wanted"
    kubectl exec --namespace nats "$pod" --container nats -- nats-server --signal reload=1 ||
      fail "${pod#pod/} did not load the users" "kubectl -n nats logs ${pod#pod/}"
  done
  kubectl annotate secret nats-auth --namespace nats --overwrite "$AUTH_MARK=$wanted" >/dev/null
  say "NATS: users loaded"
}

declare_streams() {
  local replicas
  replicas=$(kubectl get statefulset nats --namespace nats --output 'jsonpath={.spec.replicas}')
  say "stream and consumers"
  "$root/k8s/connect.sh" keda-jobs streams apply --jobs "$root/jobs" --replicas "$replicas" ||
    fail "stream and consumers are not as declared" "kubectl -n nats logs nats-0"
}
