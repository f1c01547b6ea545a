#!/usr/bin/env bash
# Builds the container images of jobs, each as [REGISTRY/]<job>:TAG and as <job>:dev.
# Usage: tools/build.sh [--push|--attest] JOB...|--all|--test-servers
#   --all           every job: the folders of jobs/ with a Dockerfile
#   --test-servers  keda-jobs-test-servers, the S3 and picture server of test clusters
#   --push          push to REGISTRY, which has to be set
#   --attest        push with SBOM and provenance (needs buildx); what was pushed is told in .build/images/<job>.json
# Environment: REGISTRY; TAG (git describe); BASE (the Dockerfile's); DOCKER (docker, or podman and its like);
# DOCKER_BUILDKIT=1 for an old client that does BuildKit without buildx. PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and
# PIP_TRUSTED_HOST are used where set, and reach no image.
set -euo pipefail
cd "$(dirname "$0")/.."

DOCKER=${DOCKER:-docker}
REGISTRY=${REGISTRY:-}
TAG=${TAG:-$(git describe --tags --always --dirty)}
readonly TEST_SERVERS=keda-jobs-test-servers

fail() {
  echo "build: $1" >&2
  exit 1
}

all_jobs() {
  local file
  for file in jobs/*/Dockerfile; do basename "$(dirname "$file")"; done
}

dockerfile_of() {
  if [ "$1" = "$TEST_SERVERS" ]; then echo tests/e2e/servers/Dockerfile; else echo "jobs/$1/Dockerfile"; fi
}

# The address of the repository, when it is one for people: no path of a machine, no user, no password.
source_url() {
  local url
  url=$(git remote get-url origin 2>/dev/null) || return 0
  [[ $url =~ ^(https?://)([^/@]*@)?([^@]+)$ ]] || return 0
  url=${BASH_REMATCH[1]}${BASH_REMATCH[3]}
  echo "${url%.git}"
}

# What every build of an image has, in the array `arguments`.
describe() {
  local revision
  revision=$(git rev-parse HEAD)
  arguments=(--file "$(dockerfile_of "$1")" --tag "$(tag_of "$1")")
  arguments+=(--build-arg "SOURCE=$(source_url)" --build-arg "REVISION=$revision" --build-arg "VERSION=$TAG")
  # Without a value it is the environment's, which then is in nobody's list of processes.
  arguments+=(--build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --build-arg PIP_TRUSTED_HOST)
  if [ -n "${BASE:-}" ]; then arguments+=(--build-arg "BASE=$BASE"); fi
}

build() {
  local arguments
  describe "$1"
  "${builder[@]}" --tag "$1:dev" "${arguments[@]}" . || fail "$1 failed, see above"
}

push() {
  "$DOCKER" push "$(tag_of "$1")" || fail "$(tag_of "$1") was not pushed, see above"
}

# From the builder's cache: what was built, and perhaps tested, before. Only the attestations are made now.
push_attested() {
  local arguments provenance=mode=max
  # The fuller provenance has the values of build arguments in it, and so where the machine has its packages from.
  if [ -n "${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}${PIP_TRUSTED_HOST:-}" ]; then provenance=mode=min; fi
  describe "$1"
  mkdir -p .build/images
  "$DOCKER" buildx build --push --sbom=true --provenance="$provenance" --metadata-file ".build/images/$1.json" \
    "${arguments[@]}" . || fail "$(tag_of "$1") was not pushed, see above"
}

tag_of() { echo "${REGISTRY:+$REGISTRY/}$1:$TAG"; }

table() {
  local name size
  printf '\n%-60s %10s\n' image size
  for name in "${images[@]}"; do
    size=$("$DOCKER" image inspect --format '{{.Size}}' "$(tag_of "$name")")
    printf '%-60s %7d MB\n' "$(tag_of "$name")" $((size / 1000000))
  done
}

images=()
push=
for argument in "$@"; do
  case $argument in
    --push) push=push ;;
    --attest) push=push_attested ;;
    --all) mapfile -t -O "${#images[@]}" images < <(all_jobs) ;;
    --test-servers) images+=("$TEST_SERVERS") ;;
    *)
      [ -f "jobs/$argument/Dockerfile" ] || fail "there is no job '$argument'; there are: $(all_jobs | paste -sd ' ')"
      images+=("$argument")
      ;;
  esac
done
[ ${#images[@]} -gt 0 ] || fail "name a job, or --all; there are: $(all_jobs | paste -sd ' ')"
[ "$TAG" != latest ] || fail "TAG=latest says nothing about what is in an image; name a version"
if [ -n "$push" ] && [ -z "$REGISTRY" ]; then fail "pushing needs REGISTRY=<host>/<path>"; fi
command -v "$DOCKER" >/dev/null || fail "$DOCKER is not installed"
"$DOCKER" info >/dev/null 2>&1 || fail "$DOCKER does not answer; start it (or name another by DOCKER=)"

if "$DOCKER" buildx version >/dev/null 2>&1; then
  # One image is one manifest: an index with attestations is not what kind loads.
  builder=("$DOCKER" buildx build --load --provenance=false)
else
  [ "$push" != push_attested ] || fail "--attest needs buildx, which this $DOCKER does not have"
  export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0}
  builder=("$DOCKER" build)
fi
for index in "${!images[@]}"; do
  echo "build: ${images[$index]} ($((index + 1)) of ${#images[@]})"
  build "${images[$index]}"
done
table
[ -n "$push" ] || exit 0
for name in "${images[@]}"; do "$push" "$name"; done
