#!/usr/bin/env bash
# Commit the digests of .build/digests to the branch DEPLOY_BRANCH/ENV, which Flux or Argo CD follow: this commit of main,
# with the digests of all jobs published so far. In place of tools/ci/deploy.sh.
# Usage: tools/ci/pin.sh      in a workflow, on a clone with the whole history
# Environment: DEPLOY_BRANCH; ENV; REGISTRY; DIGESTS (.build/digests), a folder with a file for each job; GH_TOKEN, which
# may write contents; GITHUB_SHA from the runner.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH

fail() {
  echo "pin: $1" >&2
  exit 1
}

as_bot() {
  git -c user.name="github-actions[bot]" -c user.email="github-actions[bot]@users.noreply.github.com" "$@"
}

branch=$DEPLOY_BRANCH/$ENV
overlay=k8s/kustomize/overlays/$ENV
git check-ref-format --branch "$branch" >/dev/null || fail "'$branch' is no name of a branch, see DEPLOY_BRANCH in docs/ci.md"
gh auth setup-git
if git fetch --quiet origin "refs/heads/$branch" 2>/dev/null; then
  git switch --quiet --force-create "$branch" FETCH_HEAD
  # The branch differs from main in pins alone, so its side of a conflict is the later one.
  as_bot merge --quiet --no-edit --strategy-option ours "$GITHUB_SHA"
else
  git switch --quiet --force-create "$branch" "$GITHUB_SHA"
fi
pinned=()
for file in "${DIGESTS:-.build/digests}"/*; do
  if [ -f "$file" ]; then
    python tools/pin.py --job "$(basename "$file")" --digest "$(<"$file")" || exit 1
    pinned+=("$(basename "$file")")
  fi
done
for part in . bootstrap backup ops jobs; do
  [ ! -d "$overlay/$part" ] || kubectl kustomize "$overlay/$part" >/dev/null || fail "$overlay/$part cannot be rendered, see above"
done
git add "$overlay"
git diff --cached --quiet || as_bot commit --quiet --message "k8s: pin ${pinned[*]} in $ENV"
# Not forced: a run that was overtaken fails.
git push --quiet origin "$branch"
echo "pin: $branch is at $(git rev-parse HEAD)"
