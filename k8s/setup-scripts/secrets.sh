#!/usr/bin/env bash
# Makes the secrets of k8s/manual/*/*.yaml.tpl from k8s/.env; shows their names only.
# Usage: k8s/setup-scripts/secrets.sh [--test] [--only NAME]     (make -C k8s secrets)
#   --test       also what the servers of a test cluster ask for
#   --only NAME  one template, such as r2 or postgres
# Environment: ENV_FILE (k8s/.env). What that file lacks is taken from the environment.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$(dirname "$0")/progress.sh"

folders=(prod)
only='*'
while [ $# -gt 0 ]; do
  case $1 in
    --test) folders+=(test) ;;
    --only)
      only=${2:-}
      shift
      ;;
    -h | --help)
      usage
      exit
      ;;
    *) fail "unknown option '$1'; --help lists them" ;;
  esac
  shift || fail "--only needs a name"
done

templates=()
for folder in "${folders[@]}"; do
  # The name is a pattern on purpose.
  # shellcheck disable=SC2231
  for file in "$root/k8s/manual/$folder/"$only.yaml.tpl; do
    if [ -f "$file" ]; then templates+=("$file"); fi
  done
done
[ ${#templates[@]} -gt 0 ] || fail "there is no template $only.yaml.tpl in k8s/manual"
[ -e "$ENV_FILE" ] || [ "$only" != '*' ] ||
  fail "there is no $env_file; make it: cp k8s/.env.template k8s/.env && chmod 600 k8s/.env, and fill it in"

# Read first: without an answer the roles would get new passwords.
kept=$(kubectl get secret postgres --namespace keda-jobs-prod --ignore-not-found --output json) ||
  fail "the cluster could not be asked, see above"
manifests=$(printf '%s' "$kept" | python -m cluster.secrets render "${templates[@]}") || exit 1
printf '%s\n' "$manifests" | kubectl apply --server-side --filename - | sed 's/ serverside-applied$/ configured/' ||
  fail "not all secrets were made, see above" "k8s/setup-scripts/setup-all.sh makes their namespaces"
