#!/bin/bash
# Makes a swarm of a cluster's nodes, or of one more of them: the first manager begins it, every other node joins it. A node that is in
# the swarm already stays as it is. cluster.sh DRIVER [DRIVER'S ARGUMENTS] [NODE]: see drivers.sh; for Vagrant, NODE alone.
#
# Join tokens go from one node's API to the other's through a pipe of this process: no command line and no file has them.
set -euo pipefail
# shellcheck source=drivers.sh
. "$(dirname "$0")/drivers.sh"

usage() {
  printf 'Usage: cluster.sh vagrant [NODE]\n       cluster.sh lab NAME MANAGERS [NODE]\n' >&2
  exit 2
}
only=
case ${1:-} in
vagrant)
  [ $# -le 2 ] || usage
  only=${2:-}
  open_driver vagrant
  ;;
lab)
  [ $# = 3 ] || [ $# = 4 ] || usage
  only=${4:-}
  open_driver lab "$2" "$3"
  ;;
*) usage ;;
esac
if [ -n "$only" ] && [ -z "${address[$only]:-}" ]; then
  say "no such node: $only (there are ${nodes[*]})"
  exit 2
fi

first=${managers[0]}
# A join waits up to 60 s for the answer and 90 s for the node to be one.
export within_s=240

is_manager() {
  local manager
  for manager in "${managers[@]}"; do [ "$manager" != "$1" ] || return 0; done
  return 1
}

for node in "${nodes[@]}"; do
  [ -z "$only" ] || [ "$only" = "$node" ] || continue
  # Asked of itself alone: nodes that all start again have no manager that could tell a token yet, and need none.
  state=$(run "$node" skep-provision cluster state)
  case $state in
  inactive) ;;
  pending | active | locked | error)
    say "$node is in the swarm already: $state"
    continue
    ;;
  *)
    say "$node does not say whether it is in a swarm: skep-provision is not there, or too old"
    exit 1
    ;;
  esac
  if [ "$node" = "$first" ]; then
    run "$node" skep-provision cluster init "${address[$node]}"
    continue
  fi
  role=worker
  if is_manager "$node"; then role=manager; fi
  run "$first" skep-provision cluster token "$role" | run_with_input "$node" skep-provision cluster join "${address[$node]}" "${address[$first]}"
done
