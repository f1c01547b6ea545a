#!/usr/bin/env bash
# Sourced after progress.sh by the scripts that take a job: find it in the cluster.

# deployed JOB [KINDS]: print its ScaledObject or ScaledJob, or another of KINDS, as KIND/NAME.
deployed() {
  local all jobs
  all=$(kubectl get "${2:-scaledobjects,scaledjobs}" --namespace "$JOBS_NAMESPACE" --output name) ||
    fail "the jobs could not be listed, see above"
  jobs=$(awk -F/ '{ printf "%s%s", comma, $2; comma = ", " }' <<<"$all")
  [ -n "$1" ] || fail "name a job with JOB=…, there are: ${jobs:-none}"
  awk -F/ -v job="$1" '$2 == job { print; found = 1 } END { exit !found }' <<<"$all" ||
    fail "there is no job '$1', there are: ${jobs:-none}"
}
