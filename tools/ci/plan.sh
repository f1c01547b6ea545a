#!/usr/bin/env bash
# Decide once for a whole workflow run: outputs `jobs` (JSON, for a matrix), `any` and `publish`.
# Usage: tools/ci/plan.sh      in a workflow; needs the whole history
# Environment: GITHUB_EVENT_NAME, GITHUB_REF, GITHUB_REPOSITORY, GITHUB_OUTPUT from the runner; PULL_REQUEST_BASE, the
# base commit of a pull request; GH_TOKEN, which may read the workflow's runs.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Print the commit of the last successful run on main. The next run takes over the jobs of a run that failed, was
# cancelled or was not approved. Pushes only, because the branch of a fork's pull request may be called main as well.
last_success() {
  gh run list --repo "$GITHUB_REPOSITORY" --workflow ci.yml --branch main --event push --status success --limit 1 \
    --json headSha --jq '.[].headSha' || echo "plan: earlier runs cannot be read, see above" >&2
}

field() {
  python3 -c 'import json, sys; print(json.dumps(json.loads(sys.argv[1])[sys.argv[2]]))' "$plan" "$1"
}

warn() {
  local what
  what=$(field "$1")
  [ "$what" = "[]" ] || echo "::warning title=plan::$what: $2"
}

case $GITHUB_EVENT_NAME in
  pull_request) arguments=("$PULL_REQUEST_BASE") ;;
  push) arguments=("$(last_success)") ;;
  *) arguments=(--all) ;;
esac
publish=false
if [ "$GITHUB_REF" = refs/heads/main ]; then publish=true; fi
plan=$(python3 tools/changed_jobs.py --json "${arguments[@]}")
jobs=$(field jobs)
{
  echo "jobs=$jobs"
  echo "any=$(field any)"
  echo "publish=$publish"
} >>"$GITHUB_OUTPUT"
echo "plan: $jobs, to be published: $publish"
warn deleted "deleted here; delete it on the cluster too"
warn setup "run k8s/setup-scripts/setup-all.sh before the job is deployed"
