#!/usr/bin/env bash
# Log in to the registry of the images: to ECR, Artifact Registry and ACR as the identity that the action `cloud` has
# taken on, to any other one with a token.
# Usage: tools/ci/login.sh
# Environment: REGISTRY=<host>/<path>; REGISTRY_USER, REGISTRY_TOKEN for a registry of none of these clouds; DOCKER.
set -euo pipefail

fail() {
  echo "login: $1 (see docs/ci.md)" >&2
  exit 1
}

[[ ${REGISTRY:-} =~ ^[^/]+/.+ ]] || fail "REGISTRY is not <host>/<path>: set the variable REGISTRY of the repository"
host=${REGISTRY%%/*}
case $host in
  *.dkr.ecr.*)
    region=${host#*.dkr.ecr.}
    user=AWS ask=(aws ecr get-login-password --region "${region%%.*}")
    ;;
  *.pkg.dev) user=oauth2accesstoken ask=(gcloud auth print-access-token) ;;
  *.azurecr.*)
    user=00000000-0000-0000-0000-000000000000 # what ACR expects beside a token
    ask=(az acr login --name "${host%%.*}" --expose-token --query accessToken --output tsv)
    ;;
  *) user=$REGISTRY_USER ask=(printenv REGISTRY_TOKEN) ;;
esac
password=$("${ask[@]}") || fail "there is no password for $host, see above: is its cloud's identity set up?"
# By standard input, because the list of processes shows arguments.
"${DOCKER:-docker}" login "$host" --username "$user" --password-stdin <<<"$password"
