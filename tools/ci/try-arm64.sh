#!/usr/bin/env bash
# Build the image of one job for arm64, and import the job there. It leaves <job>:dev of arm64 behind.
# Usage: tools/ci/try-arm64.sh      where Docker can emulate arm64, or is on such a machine
# Environment: JOB; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DOCKER_DEFAULT_PLATFORM=linux/arm64
tools/build.sh "$JOB"
# The import loads the compiled parts of the libraries.
"${DOCKER:-docker}" run --rm --network none --entrypoint python "$JOB:dev" -c "
import platform
import ${JOB//-/_}.job
assert platform.machine() == 'aarch64', platform.machine()"
echo "try-arm64: $JOB starts on arm64"
