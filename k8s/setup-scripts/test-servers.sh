#!/usr/bin/env bash
# Sourced by setup-all.sh: the servers of a test cluster, an S3 server, a PostgreSQL and pictures.
# shellcheck disable=SC2154  # variables of the script that sources it

# They keep no data and read their credentials only at start.
make_test_secrets() {
  local before options=()
  if [ ! -e "$ENV_FILE" ]; then
    if [[ $rendered == *"secretName: postgres-tls"* ]]; then options=(--tls); fi
    python -m cluster.secrets make-test-file "${options[@]}"
    say "secrets: wrote $env_file with random credentials for the test servers"
  fi
  before=$(test_servers_version)
  "$root/k8s/setup-scripts/secrets.sh" --only test-servers
  if [ -n "$before" ] && [ "$before" != "$(test_servers_version)" ]; then
    say "test servers: restarted for their new credentials"
    kubectl rollout restart --namespace "$TEST_NAMESPACE" deployment/s3 deployment/postgres >/dev/null
  fi
}

test_servers_version() {
  kubectl get secret test-servers --namespace "$TEST_NAMESPACE" --ignore-not-found --output 'jsonpath={.metadata.resourceVersion}'
}

wait_for_test_servers() {
  local server
  for server in s3 pictures postgres; do rolled_out "$TEST_NAMESPACE" "deployment/$server" 300; done
  say "test servers: ready"
}
