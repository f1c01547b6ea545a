#!/usr/bin/env bash
# Sourced by the scripts here: paths, messages and waiting.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
name=$(basename "$0" .sh)
export PATH="$root/.venv/bin:$PATH" PYTHONPATH="$root/tools:$root/shared-py/src"

# Label of all that is ours.
# shellcheck disable=SC2034
readonly MARK=app.kubernetes.io/part-of=keda-jobs
# Label of what belongs to one environment: its name.
# shellcheck disable=SC2034
readonly ENVIRONMENT_LABEL=keda-jobs/environment

say() { echo "$name: $1"; }

# fail WHAT [SEE]: exit with one line that says what happened and what to look at.
fail() {
  echo "$name: $1${2:+, see: $2}" >&2
  exit 1
}

usage() { sed -n '2,/^set /{/^# shellcheck/d;/^#/s/^# \{0,1\}//p;}' "$0"; }

# help_or_go_on "$@": with -h or --help as the first argument, print the usage and exit.
help_or_go_on() {
  case ${1:-} in
    -h | --help)
      usage
      exit
      ;;
  esac
}

# For scripts that need more than kubectl.
needs_setup() { command -v keda-jobs >/dev/null || fail "keda-jobs is not installed, run: make setup"; }

# use_environment: load the facts of ENV, and find its credentials.
# shellcheck disable=SC2034
use_environment() {
  # shellcheck source-path=SCRIPTDIR source=../environment.sh
  source "$root/k8s/environment.sh" || exit 1
  ENV_FILE=${ENV_FILE:-$CREDENTIALS}
  env_file=${ENV_FILE#"$root"/} # relative to the repository, for messages
}

# joined WORD…: print the words with commas between them.
joined() {
  local words
  printf -v words ', %s' "$@"
  echo "${words#, }"
}

# find_cluster: set context and server, for messages.
# shellcheck disable=SC2034
find_cluster() {
  context=${KUBE_CONTEXT:-$(kubectl config current-context 2>/dev/null)} || context="(none)"
  server=$(kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}' 2>/dev/null) || server="no server"
}

# read_yes "$@": for a script whose one option is --yes. Set yes, or print the usage and exit.
read_yes() {
  help_or_go_on "$@"
  yes=false
  case ${1:-} in
    --yes) yes=true ;;
    ?*) fail "unknown option '$1', see --help" ;;
  esac
}

# confirm WHAT-NOT: ask, unless the script's option --yes has set yes. WHAT-NOT is true after a no.
confirm() {
  # shellcheck disable=SC2154
  if $yes; then return; fi
  [ -t 0 ] || fail "refusing to go on without confirmation: stdin is not a terminal, pass --yes"
  local answer
  read -r -p "Continue? [y/N] " answer || answer=no
  [[ $answer == [yY]* ]] || fail "$1"
}

# await DEADLINE_S WHAT SEE COMMAND…: wait until COMMAND succeeds, and say so every ten seconds.
await() {
  local deadline=$((SECONDS + $1)) next=$SECONDS
  until "${@:4}" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$2: not within $1 s" "$3"
    if [ "$SECONDS" -ge "$next" ]; then
      say "waiting for $2"
      next=$((SECONDS + 10))
    fi
    sleep 1
  done
}

# rolled_out NAMESPACE KIND/NAME DEADLINE_S: wait until all its pods are ready.
rolled_out() {
  kubectl rollout status --namespace "$1" "$2" --timeout="${3}s" | said_once ||
    fail "$2 is not ready" "kubectl -n $1 describe pods"
}

said_once() { awk -v name="$name" 'sub(/^Waiting/, name ": waiting") && !said[$0]++ { print; fflush() }'; }

# applied WHAT COMMAND…: apply, and say how many objects there are.
applied() {
  local lines
  lines=$("${@:2}") || fail "$1 could not be applied, see above"
  say "$1: $(grep -c . <<<"$lines") objects as declared"
}

# at_least VERSION FLOOR: succeed if VERSION is FLOOR or later.
at_least() { printf '%s\n%s\n' "$2" "$1" | sort -V -C; }
