#!/usr/bin/env bash
# Test the image <job>:dev of one job.
# Usage: tools/ci/test-image.sh      after `make build`
# Environment: JOB; BASE, if the image stands on another; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A builder in a container does not share its base image, which the tests compare with.
"${DOCKER:-docker}" pull --quiet "$(tools/base-image.sh)"
make test-images ARGS="-k '[$JOB]'"
