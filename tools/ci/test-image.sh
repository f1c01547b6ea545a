#!/usr/bin/env bash
# Tries the image <job>:dev of one job.
# Usage: tools/ci/test-image.sh      after `make build`
# Environment: JOB; BASE, what its Dockerfile stands on, if it is another than there; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A builder in a container keeps the base to itself, and the tests compare with it.
base=${BASE:-$(sed -n 's/^ARG BASE=//p' "jobs/$JOB/Dockerfile")}
"${DOCKER:-docker}" pull --quiet "$base"
make test-images ARGS="-k '[$JOB]'"
