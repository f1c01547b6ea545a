#!/usr/bin/env bash
# Make the secrets of k8s/manual/*.yaml.tpl from the environment's credentials. Only their names are printed.
# A Secret of that name which somebody else made is left alone.
# Usage: k8s/setup-scripts/secrets.sh [--only NAME]     (make -C k8s secrets)
#   --only NAME  one template, such as r2 or postgres
# Environment: ENV; ENV_FILE (default k8s/.env, and k8s/.env.<ENV> for others than prod). What that file lacks comes
# from the variables of the shell.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=progress.sh
source "$(dirname "$0")/progress.sh"

only=()
while [ $# -gt 0 ]; do
  case $1 in
    --only)
      only=(--only "${2:-}")
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

use_environment
python -m cluster.secrets apply "${only[@]}"
