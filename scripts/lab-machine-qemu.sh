#!/bin/bash
# The machine of a lab node in QEMU: starts the file servers, waits until each listens, and becomes the guest, so that all are
# one session with the guest's pid. lab-machine-qemu.sh SERVER --socket-path=PATH ... -- SERVER ... -- GUEST ...
set -eu
trap 'kill $(jobs -p) 2>/dev/null' EXIT # not after the exec below

while :; do
  command=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    command+=("$1")
    shift
  done
  [ $# -gt 0 ] || break
  shift
  "${command[@]}" >/dev/null 2>&1 &
  socket=${command[1]#--socket-path=}
  for ((tries = 0; tries < 250; tries++)); do
    [ ! -S "$socket" ] || break
    sleep 0.02
  done
  [ -S "$socket" ] || {
    echo "lab: ${command[0]} does not listen on $socket"
    exit 1
  }
done
exec "${command[@]}"
