#!/bin/bash
# All tests. A stage is what runs at the same time: lanes, joined by +, each of which does its steps, joined by commas, one
# after the other. Two cores serve as many lanes as leave something of them: labs and engines mostly wait, a guest has one
# processor's worth at most. What measures time or counts lost requests has a stage of its own.
# Goes on after a failure, so that one run shows everything that is broken, and says it once more at the end, where whoever
# reads a long log looks first; exits 1 if anything was.
set -uo pipefail
cd "$(dirname "$0")/.."
# A capability that is missing is a failure here, never a skipped test.
export CI=true

stages=(
  static+unit
  sim+kernel,conformance
  faults,lab-reboots
  uml+qemu
  lab-uml,package+engine,lab-swarm+lab-shared
  lab
)

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# What a step says goes to its log; a step that fails leaves $logs/STEP.failed.
run_step() {
  local began=$SECONDS
  if [ "$1" = static ]; then
    npm run --silent check:static
  else
    npx --no vitest run --project "$1"
  fi >"$logs/$1" 2>&1 </dev/null || touch "$logs/$1.failed"
  printf '\n=== %s: %d s\n' "$1" $((SECONDS - began))
  cat "$logs/$1"
}

run_lane() {
  local step steps
  IFS=, read -ra steps <<<"$1"
  for step in "${steps[@]}"; do run_step "$step" >"$logs/$step.shown"; cat "$logs/$step.shown"; done
}

# Ticks of all processors since boot, those in which they worked first.
ticks() { awk '/^cpu /{all = $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; print all - $5 - $6, all}' /proc/stat; }

for stage in "${stages[@]}"; do
  began=$SECONDS
  read -r worked_before all_before < <(ticks)
  IFS=+ read -ra lanes <<<"$stage"
  for lane in "${lanes[@]}"; do run_lane "$lane" & done
  wait
  read -r worked all < <(ticks)
  # How much room is left for another lane.
  printf '\n=== stage %s: %d s, processors busy %d %%\n' "$stage" $((SECONDS - began)) \
    $((100 * (worked - worked_before) / (all - all_before + 1)))
done

failed=$(cd "$logs" && find . -name '*.failed' -printf '%f\n' | sed 's/\.failed$//' | sort)
[ -n "$failed" ] || exit 0
for step in $failed; do
  printf '\n=== %s failed\n' "$step"
  # From the first failure that vitest explains; all of it where nothing is explained.
  if grep -q ' FAIL ' "$logs/$step"; then sed -n '/ FAIL /,$p' "$logs/$step"; else cat "$logs/$step"; fi | head -c 20000
done
printf '\nfailed: %s\n' "$(tr '\n' ' ' <<<"$failed")"
exit 1
