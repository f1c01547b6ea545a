#!/usr/bin/env bash
# Build the image of one job for arm64, and import the job there. It leaves <job>:dev of arm64 behind.
# Usage: tools/ci/try-arm64.sh      where Docker can emulate arm64, or is on such a machine
# Environment: JOB; DOCKER.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DOCKER_DEFAULT_PLATFORM=linux/arm64
tools/build.sh "$JOB"
# The import loads the compiled parts of the libraries. Of keda-jobs-ops it is that of every job.
load="import ${JOB//-/_}.job"
if [ "$JOB" = keda-jobs-ops ]; then load="from stack.jobs import all_jobs; assert all_jobs()"; fi
"${DOCKER:-docker}" run --rm --network none --entrypoint python "$JOB:dev" -c "
import platform
$load
assert platform.machine() == 'aarch64', platform.machine()"
echo "try-arm64: $JOB starts on arm64"
