#!/usr/bin/env bash
# Sourced after progress.sh by what is about one job: finds it in the cluster.

readonly JOBS_NAMESPACE=keda-jobs-prod

# deployed JOB [KINDS]: its ScaledObject or ScaledJob, or what else KINDS names, as KIND/NAME.
deployed() {
  local all jobs
  all=$(kubectl get "${2:-scaledobjects,scaledjobs}" --namespace "$JOBS_NAMESPACE" --output name) ||
    fail "the jobs could not be listed, see above"
  jobs=$(awk -F/ '{ printf "%s%s", comma, $2; comma = ", " }' <<<"$all")
  [ -n "$1" ] || fail "name a job, JOB=…; there are: ${jobs:-none}"
  awk -F/ -v job="$1" '$2 == job { print; found = 1 } END { exit !found }' <<<"$all" ||
    fail "there is no job '$1'; there are: ${jobs:-none}"
}
