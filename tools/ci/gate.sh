#!/usr/bin/env bash
# Succeed when every job of the workflow succeeded or was skipped. Branch rules require only this check.
# Usage: tools/ci/gate.sh
# Environment: RESULTS of the other jobs, separated by blanks: success, skipped, failure, cancelled.
set -euo pipefail

# A job skipped after a failure cannot hide it, because the failed job is in the list too.
for result in ${RESULTS:-nothing}; do
  case $result in
    success | skipped) ;;
    *)
      echo "gate: not every job succeeded: ${RESULTS:-no job ran}" >&2
      exit 1
      ;;
  esac
done
echo "gate: ${RESULTS}"
