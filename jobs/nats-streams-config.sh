#!/usr/bin/env bash
# Apply jobs/stream*.json, jobs/*/consumer.json and the schedules of jobs/*/job.toml to the NATS server at NATS_URL.
# Only what differs is changed.
# Usage: jobs/nats-streams-config.sh [--dry-run]
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
command -v keda-jobs >/dev/null || {
  echo "nats-streams-config: keda-jobs is not installed, run: make setup" >&2
  exit 1
}
exec keda-jobs streams apply "$@"
