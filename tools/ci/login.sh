#!/usr/bin/env bash
# Log in to the registry of the images.
# Usage: tools/ci/login.sh
# Environment: REGISTRY=<host>/<path>; REGISTRY_USER, REGISTRY_TOKEN; DOCKER.
set -euo pipefail

if [[ ! ${REGISTRY:-} =~ ^[^/]+/.+ ]]; then
  echo "login: REGISTRY is not <host>/<path>: set the variable REGISTRY of the repository (see CONTRIBUTING.md)" >&2
  exit 1
fi
# By standard input, because the list of processes shows arguments.
"${DOCKER:-docker}" login "${REGISTRY%%/*}" --username "$REGISTRY_USER" --password-stdin <<<"$REGISTRY_TOKEN"
