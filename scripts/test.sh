#!/bin/bash
# All tests, one kind after the other: kinds that measure time or start clusters must not share two cores. Goes on after a
# failure, so that one run shows everything that is broken; exits 1 if anything was.
set -uo pipefail
cd "$(dirname "$0")/.."
# A capability that is missing is a failure here, never a skipped test.
export CI=true

failed=()
npm run --silent check:static || failed+=(check:static)
for project in unit sim kernel conformance uml qemu engine lab; do
  printf '\n=== test:%s\n' "$project"
  npx --no vitest run --project "$project" || failed+=("$project")
done
if [ "${#failed[@]}" -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}"
  exit 1
fi
