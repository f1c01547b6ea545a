#!/usr/bin/env bash
# Make the secrets of k8s/manual/*/*.yaml.tpl from k8s/.env. Only their names are printed.
# Usage: k8s/setup-scripts/secrets.sh [--test] [--only NAME]     (make -C k8s secrets)
#   --test       also the credentials of a test cluster's servers
#   --only NAME  one template, such as r2 or postgres
# Environment: ENV_FILE (default k8s/.env). What that file lacks comes from the environment.
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
    *) fail "unknown option '$1', see --help" ;;
  esac
  shift || fail "--only needs a name"
done

templates=()
for folder in "${folders[@]}"; do
  # The name may be a pattern.
  # shellcheck disable=SC2231
  for file in "$root/k8s/manual/$folder/"$only.yaml.tpl; do
    if [ -f "$file" ]; then templates+=("$file"); fi
  done
done
[ ${#templates[@]} -gt 0 ] || fail "there is no template $only.yaml.tpl in k8s/manual"
[ -e "$ENV_FILE" ] || [ "$only" != '*' ] ||
  fail "there is no $env_file. Make it with: cp k8s/.env.template k8s/.env && chmod 600 k8s/.env, and fill it in"

# Read first: otherwise the roles would get new passwords.
kept=$(kubectl get secret postgres --namespace keda-jobs-prod --ignore-not-found --output json) ||
  fail "the cluster could not be asked, see above"
manifests=$(printf '%s' "$kept" | python -m cluster.secrets render "${templates[@]}") || exit 1
printf '%s\n' "$manifests" | kubectl apply --server-side --filename - | sed 's/ serverside-applied$/ configured/' ||
  fail "not all secrets were made, see above" "k8s/setup-scripts/setup-all.sh makes their namespaces"
