#!/usr/bin/env bash
# Check that the workflow ci.yml of this repository's main signed each image of .build/digests.
# Usage: tools/ci/verify.sh      after tools/ci/login.sh
# Environment: REGISTRY; GITHUB_SERVER_URL, GITHUB_REPOSITORY from the runner.
set -euo pipefail
cd "$(dirname "$0")/../.."

identity=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/.github/workflows/ci.yml@refs/heads/main
issuer=https://token.actions.githubusercontent.com
for file in .build/digests/*; do
  [ -f "$file" ] || continue # nothing was published
  image=$REGISTRY/$(basename "$file")@$(cat "$file")
  cosign verify --certificate-identity "$identity" --certificate-oidc-issuer "$issuer" "$image" >/dev/null || {
    echo "verify: $image is not signed by $identity" >&2
    exit 1
  }
  echo "verify: $image"
done
