#!/usr/bin/env bash
# Push the image of one job for both architectures, with SBOM and provenance, sign it, and write its digest to
# .build/digests/<job>. The tag is the full id of the commit.
# Usage: tools/ci/publish.sh      after tools/ci/login.sh, in a workflow, which signs without a key
# Environment: JOB; REGISTRY and the other variables of tools/build.sh; GITHUB_SHA from the runner.
set -euo pipefail
cd "$(dirname "$0")/../.."

TAG=$GITHUB_SHA tools/build.sh --attest "$JOB"
digest=$(sed -n 's/.*"containerimage\.digest": *"\(sha256:[0-9a-f]\{64\}\)".*/\1/p' ".build/images/$JOB.json" | head -n 1)
[ -n "$digest" ] || {
  echo "publish: .build/images/$JOB.json names no digest" >&2
  exit 1
}
# By digest, because a tag may name another image by now.
cosign sign --yes "$REGISTRY/$JOB@$digest"
mkdir -p .build/digests
echo "$digest" >".build/digests/$JOB"
echo "publish: $REGISTRY/$JOB@$digest"
