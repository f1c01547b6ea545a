#!/usr/bin/env bash
# Sourced by setup-all.sh: the jobs' data. Secrets, the servers of a test cluster, the schemas of batch jobs.
# shellcheck disable=SC2034,SC2154  # variables of the script that sources it

make_secrets() {
  if [ "$overlay" = test ] && [ ! -e "$ENV_FILE" ]; then
    python -m cluster.secrets make-test-file
    say "secrets: wrote $env_file with random credentials for the test servers"
  fi
  if [ "$overlay" = test ]; then
    make_test_secrets
  elif [ -e "$ENV_FILE" ]; then
    "$root/k8s/setup-scripts/secrets.sh"
  elif [ -n "${PG_DSN:-}" ]; then
    "$root/k8s/setup-scripts/secrets.sh" --only postgres
  else
    say "secrets: none, there is no $env_file"
  fi
}

# These servers keep no data and read their credentials only at start.
make_test_secrets() {
  local before
  before=$(test_servers_version)
  "$root/k8s/setup-scripts/secrets.sh" --test
  if [ -n "$before" ] && [ "$before" != "$(test_servers_version)" ]; then
    say "test servers: restarted for their new credentials"
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

# What is left out is in the array `skipped`, for the record of the setup.
apply_schemas() {
  skipped=()
  if [ ! -e "$ENV_FILE" ] && [ -z "${PG_DSN:-}" ]; then
    say "database: skipped, there is no PG_DSN"
    skipped=(--skipped database)
    return
  fi
  local passwords
  passwords=$(kubectl get secret postgres --namespace keda-jobs-prod --output json) ||
    fail "there is no Secret postgres, run: make -C k8s secrets"
  say "database: tables, queues and roles"
  printf '%s' "$passwords" | "$root/k8s/connect.sh" python -m cluster.schemas ||
    fail "the database is not set up, see above. Run this again where PG_DSN can reach it"
}
