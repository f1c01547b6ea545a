#!/usr/bin/env bash
# Decide once for a whole workflow run: outputs `jobs` and `environments` (JSON, for a matrix) and, each true or
# false, `any`, `e2e`, `publish`, `deploy` and `pin`. What is not set up is named in the summary of the run, and left out.
# Usage: tools/ci/plan.sh      in a workflow; needs the whole history
# Environment: GITHUB_EVENT_NAME, GITHUB_REF, GITHUB_REPOSITORY, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY from the runner;
# BASE_COMMIT of a pull request or a merge group; REGISTRY and ENVIRONMENT (names separated by blanks, in the order of the
# deploys), variables of the repository; DEPLOY_BRANCH, one more, for pins in place of deploys; GH_TOKEN, which may read the workflow's runs.
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

# skip WHAT VARIABLE
skip() { echo "- $1 is skipped: set the variable \`$2\` of the repository, see docs/ci.md" >>"$GITHUB_STEP_SUMMARY"; }

case $GITHUB_EVENT_NAME in
  pull_request | merge_group) arguments=("$BASE_COMMIT") ;;
  push) arguments=("$(last_success)") ;;
  *) arguments=(--all) ;;
esac
plan=$(python3 tools/changed_jobs.py --json "${arguments[@]}")
jobs=$(field jobs)
any=$(field any)
for one in ${ENVIRONMENT:-}; do ENV=$one python3 tools/environments.py >/dev/null; done
environments=$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1].split()))' "${ENVIRONMENT:-}")
e2e=false publish=false deploy=false pin=false
if [ "$GITHUB_REF" = refs/heads/main ] || [ "$GITHUB_EVENT_NAME" = merge_group ]; then e2e=true; fi
# A scheduled run tries and scans what is published already: the same sources on the same base.
if [ "$GITHUB_REF" = refs/heads/main ] && [ "$GITHUB_EVENT_NAME" != schedule ]; then
  if [ -z "${REGISTRY:-}" ]; then skip "Publishing the images" REGISTRY; else publish=$any; fi
  if [ -z "${ENVIRONMENT:-}" ]; then
    skip "The deploy" ENVIRONMENT
  elif [ -n "${DEPLOY_BRANCH:-}" ] && [ -n "${REGISTRY:-}" ]; then
    pin=true # also without an image: Flux or Argo CD apply the manifests of that branch
  else
    deploy=$publish
  fi
fi
printf '%s\n' "jobs=$jobs" "environments=$environments" "any=$any" "e2e=$e2e" "publish=$publish" \
  "deploy=$deploy" "pin=$pin" | tee -a "$GITHUB_OUTPUT"
warn deleted "deleted here; delete it on the cluster too"
# With pins the bootstrap does it, before the jobs.
$pin || warn setup "run k8s/setup-scripts/setup-all.sh at this commit, or the deploy stops"
