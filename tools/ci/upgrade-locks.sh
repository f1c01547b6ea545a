#!/usr/bin/env bash
# Take the newest versions into all locks, and offer them as one pull request, on whose commit ci.yml runs.
# Usage: tools/ci/upgrade-locks.sh      in a workflow, on main
# Environment: GH_TOKEN, which may write contents, pull requests and actions; GITHUB_STEP_SUMMARY from the runner.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly BRANCH=upgrade-locks
readonly TITLE="requirements: take the newest versions"
readonly BODY="Made by \`make lock ARGS=--upgrade\`, and made again each week until it is merged or closed."

# A harmful release is mostly found within days.
export UV_EXCLUDE_NEWER="7 days"
make lock ARGS=--upgrade
if git diff --quiet; then
  echo "upgrade-locks: no lock has a newer version"
  exit
fi
git switch --quiet --force-create "$BRANCH"
git -c user.name="github-actions[bot]" -c user.email="github-actions[bot]@users.noreply.github.com" \
  commit --quiet --all --message "$TITLE"
gh auth setup-git
git push --quiet --force origin "$BRANCH"
if [ -z "$(gh pr list --head "$BRANCH" --state open --json number --jq '.[].number')" ]; then
  gh pr create --head "$BRANCH" --base main --title "$TITLE" --body "$BODY" ||
    echo "- The newest versions are on the branch \`$BRANCH\`. Open its pull request, or let GitHub Actions do it (docs/ci.md)" \
      >>"$GITHUB_STEP_SUMMARY"
fi
# What a workflow pushes or opens with its own token starts no workflow. This does.
gh workflow run ci.yml --ref "$BRANCH"
