#!/usr/bin/env bash
# Sourced by setup-all.sh: where the jobs' data is. Secrets, the servers of a test cluster, the batch jobs' schemas.
# shellcheck disable=SC2154  # what the script that sources it has

make_secrets() {
  if [ "$overlay" = test ] && [ ! -e "$ENV_FILE" ]; then
    python -m cluster.secrets make-test-file
    say "secrets: $env_file made, with random credentials for the test servers"
  fi
  if [ "$overlay" = test ]; then
    make_test_secrets
  elif [ -e "$ENV_FILE" ]; then
    "$root/k8s/setup-scripts/secrets.sh"
  elif [ -n "${PG_DSN:-}" ]; then
    "$root/k8s/setup-scripts/secrets.sh" --only postgres
  else
    say "secrets: none, as there is no $env_file"
  fi
}

# Its servers keep nothing, and read what they ask for at their start only.
make_test_secrets() {
  local before
  before=$(test_servers_version)
  "$root/k8s/setup-scripts/secrets.sh" --test
  if [ -n "$before" ] && [ "$before" != "$(test_servers_version)" ]; then
    say "test servers: restarted, for they have new credentials"
    kubectl rollout restart --namespace keda-jobs-test deployment/s3 deployment/postgres >/dev/null
  fi
}

test_servers_version() {
  kubectl get secret test-servers --namespace keda-jobs-test --ignore-not-found --output 'jsonpath={.metadata.resourceVersion}'
}

wait_for_test_servers() {
  local server
  for server in s3 pictures postgres; do rolled_out keda-jobs-test "deployment/$server" 300; done
  say "test servers: ready"
}

apply_schemas() {
  if [ ! -e "$ENV_FILE" ] && [ -z "${PG_DSN:-}" ]; then
    say "database: no PG_DSN, nothing was done"
    return
  fi
  local passwords
  passwords=$(kubectl get secret postgres --namespace keda-jobs-prod --output json) ||
    fail "there is no Secret postgres; run: make -C k8s secrets"
  say "database: tables, queues and roles"
  printf '%s' "$passwords" | "$root/k8s/connect.sh" python -m cluster.schemas ||
    fail "the database is not set up, see above; run this again from where PG_DSN leads to it"
}
