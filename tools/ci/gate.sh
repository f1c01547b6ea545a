#!/usr/bin/env bash
# Ends well when every job of the workflow did or was not needed. The one check for branch rules to require.
# Usage: tools/ci/gate.sh
# Environment: RESULTS, of the other jobs: success, skipped, failure, cancelled; separated by blanks.
set -euo pipefail

# What a failure or a cancelled job lets be skipped does not count as well done: those are in the list themselves.
for result in ${RESULTS:-nothing}; do
  case $result in
    success | skipped) ;;
    *)
      echo "gate: not everything went well: ${RESULTS:-nothing was run}" >&2
      exit 1
      ;;
  esac
done
echo "gate: ${RESULTS}"
