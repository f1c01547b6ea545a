#!/usr/bin/env bash
# Build the container images of jobs, each as [REGISTRY/]<job>:TAG and as <job>:dev. A job here is a folder of jobs/ with a
# Dockerfile, or keda-jobs-ops, which sets environments up from inside the cluster.
# Usage: tools/build.sh [--push|--attest] JOB...|--all|--test-servers
#   --all           every job
#   --test-servers  keda-jobs-test-servers, the S3 and picture server of test clusters
#   --push          push to REGISTRY, which has to be set
#   --attest        push for amd64 and arm64, with SBOM and provenance (needs buildx and, for the other one, QEMU);
#                   .build/images/<job>.json describes the pushed image
# Environment: REGISTRY; TAG (git describe); BASE (see tools/base-image.sh); DOCKER (docker, podman or similar);
# DOCKER_BUILDKIT=1 for an old client that supports BuildKit without buildx. PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and
# PIP_TRUSTED_HOST are used during the build and are in no image.
set -euo pipefail
cd "$(dirname "$0")/.."

DOCKER=${DOCKER:-docker}
REGISTRY=${REGISTRY:-}
TAG=${TAG:-$(git describe --tags --always --dirty)}
readonly TEST_SERVERS=keda-jobs-test-servers
readonly OPS=keda-jobs-ops

fail() {
  echo "build: $1" >&2
  exit 1
}

all_jobs() {
  local file
  for file in jobs/*/Dockerfile; do basename "$(dirname "$file")"; done
  echo "$OPS"
}

dockerfile_of() {
  case $1 in
    "$TEST_SERVERS") echo tests/e2e/servers/Dockerfile ;;
    "$OPS") echo tools/ops/Dockerfile ;;
    *) echo "jobs/$1/Dockerfile" ;;
  esac
}

# Print the public address of the repository: no local path, no user, no password.
source_url() {
  local url
  url=$(git remote get-url origin 2>/dev/null) || return 0
  [[ $url =~ ^(https?://)([^/@]*@)?([^@]+)$ ]] || return 0
  url=${BASH_REMATCH[1]}${BASH_REMATCH[3]}
  echo "${url%.git}"
}

# Set the array `arguments` to the options of every build.
describe() {
  local revision
  revision=$(git rev-parse HEAD)
  arguments=(--file "$(dockerfile_of "$1")" --tag "$(tag_of "$1")")
  arguments+=(--build-arg "SOURCE=$(source_url)" --build-arg "REVISION=$revision" --build-arg "VERSION=$TAG")
  arguments+=(--build-arg "BASE=$base")
  # Without a value Docker takes the environment's, so that no list of processes shows it.
  arguments+=(--build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --build-arg PIP_TRUSTED_HOST)
}

build() {
  local arguments
  describe "$1"
  "${builder[@]}" --tag "$1:dev" "${arguments[@]}" . || fail "$1 failed, see above"
}

push() {
  "$DOCKER" push "$(tag_of "$1")" || fail "$(tag_of "$1") was not pushed, see above"
}

# The image comes from the builder's cache, as built and perhaps tested before. Only the attestations are new.
push_attested() {
  local arguments provenance=mode=max
  # The full provenance contains the values of build arguments, such as the address of a package index.
  if [ -n "${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}${PIP_TRUSTED_HOST:-}" ]; then provenance=mode=min; fi
  describe "$1"
  mkdir -p .build/images
  "$DOCKER" buildx build --platform linux/amd64,linux/arm64 --push --sbom=true --provenance="$provenance" \
    --metadata-file ".build/images/$1.json" "${arguments[@]}" . || fail "$(tag_of "$1") was not pushed, see above"
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
      [ -f "$(dockerfile_of "$argument")" ] || fail "there is no job '$argument'; there are: $(all_jobs | paste -sd ' ')"
      images+=("$argument")
      ;;
  esac
done
[ ${#images[@]} -gt 0 ] || fail "name a job, or --all; there are: $(all_jobs | paste -sd ' ')"
[ "$TAG" != latest ] || fail "TAG=latest does not identify an image; name a version"
if [ -n "$push" ] && [ -z "$REGISTRY" ]; then fail "pushing needs REGISTRY=<host>/<path>"; fi
command -v "$DOCKER" >/dev/null || fail "$DOCKER is not installed"
"$DOCKER" info >/dev/null 2>&1 || fail "$DOCKER does not answer; start it (or name another by DOCKER=)"

if "$DOCKER" buildx version >/dev/null 2>&1; then
  # One manifest for each image: kind cannot load an index with attestations.
  builder=("$DOCKER" buildx build --load --provenance=false)
else
  [ "$push" != push_attested ] || fail "--attest needs buildx, which this $DOCKER does not have"
  export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0}
  builder=("$DOCKER" build)
fi
base=$(tools/base-image.sh)
for index in "${!images[@]}"; do
  echo "build: ${images[$index]} ($((index + 1)) of ${#images[@]})"
  build "${images[$index]}"
done
table
[ -n "$push" ] || exit 0
for name in "${images[@]}"; do "$push" "$name"; done
