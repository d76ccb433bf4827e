#!/bin/bash
# All tests, one kind after the other: kinds that measure time or start clusters must not share two cores. Two do: user-mode
# Linux keeps one core busy, and tests of the engine mostly wait for it. Goes on after a failure, so that one run shows
# everything that is broken; exits 1 if anything was.
set -uo pipefail
cd "$(dirname "$0")/.."
# A capability that is missing is a failure here, never a skipped test.
export CI=true

failed=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# The projects of one word of the list (joined by +) at the same time; what each says is shown whole, one after the other.
run_projects() {
  local project projects pids=() index=0
  IFS=+ read -ra projects <<<"$1"
  if [ "${#projects[@]}" = 1 ]; then
    printf '\n=== test:%s\n' "$1"
    npx --no vitest run --project "$1" || failed+=("$1")
    return
  fi
  for project in "${projects[@]}"; do
    npx --no vitest run --project "$project" >"$logs/$project" 2>&1 </dev/null &
    pids+=($!)
  done
  for project in "${projects[@]}"; do
    wait "${pids[index++]}" || failed+=("$project")
    printf '\n=== test:%s\n' "$project"
    cat "$logs/$project"
  done
}

npm run --silent check:static || failed+=(check:static)
for projects in unit sim kernel conformance uml+engine qemu lab; do run_projects "$projects"; done
if [ "${#failed[@]}" -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}"
  exit 1
fi
