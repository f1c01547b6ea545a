#!/usr/bin/env bash
# Decides once what the rest of a workflow run is about: outputs `jobs` (JSON, for a matrix), `any` and `publish`.
# Usage: tools/ci/plan.sh      in a workflow; needs the whole history
# Environment: GITHUB_EVENT_NAME, GITHUB_REF, GITHUB_REPOSITORY, GITHUB_OUTPUT as the runner sets them; PULL_REQUEST_BASE,
# the commit that a pull request goes on; GH_TOKEN, which may read the workflow's runs.
set -euo pipefail
cd "$(dirname "$0")/../.."

# On main: the commit of the last run that got to its end. One that failed, was refused its deploy or was overtaken in
# the queue has its jobs in the next. Pushes only: the branch of a fork's pull request may be called main as well.
last_success() {
  gh run list --repo "$GITHUB_REPOSITORY" --workflow ci.yml --branch main --event push --status success --limit 1 \
    --json headSha --jq '.[].headSha' || echo "plan: the runs so far cannot be read, see above" >&2
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
warn setup "takes effect by k8s/setup-scripts/setup-all.sh, which has to run before the job is deployed"
