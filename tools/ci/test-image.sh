#!/usr/bin/env bash
# Test the image <job>:dev of one job.
# Usage: tools/ci/test-image.sh      after `make build`
# Environment: JOB; BASE, if it differs from the Dockerfile's; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A builder in a container does not share its base image, which the tests compare with.
base=${BASE:-$(sed -n 's/^ARG BASE=//p' "jobs/$JOB/Dockerfile")}
"${DOCKER:-docker}" pull --quiet "$base"
make test-images ARGS="-k '[$JOB]'"
