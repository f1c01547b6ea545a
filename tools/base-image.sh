#!/usr/bin/env bash
# Print the name of the image that all others stand on: BASE, or the one pinned in tools/base-image/Dockerfile.
# An image of the same tag that was made on this machine goes before the pinned one, which such a machine cannot pull.
# Usage: tools/base-image.sh
# Environment: BASE; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/.."

pinned=$(sed -n 's/^FROM //p' tools/base-image/Dockerfile)
tag=${pinned%@*}
if [ -z "${BASE:-}" ]; then
  digests=$("${DOCKER:-docker}" image inspect --format '{{len .RepoDigests}}' "$tag" 2>/dev/null || true)
  # Every pulled image has the digest that its registry knows.
  if [ "$digests" = 0 ]; then BASE=$tag; fi
fi
echo "${BASE:-$pinned}"
