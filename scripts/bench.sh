#!/bin/bash
# npm run bench                                             lists the benches
# npm run bench -- NAME [--json FILE] [--kernel KERNEL] [--rounds COUNT]   runs one
# A bench is bench/NAME/NAME.bench.ts; the first line of its comment is the question that it answers.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

usage() { sed -n '2,3s/^# //p' "$0"; }

list() {
  usage
  echo
  local file
  for file in bench/*/*.bench.ts; do
    [ "$(basename "$file" .bench.ts)" = "$(basename "$(dirname "$file")")" ] || continue
    printf '%-12s %s\n' "$(basename "$file" .bench.ts)" \
      "$(sed -n '1,2{s#^/\*\* *\(.*[^ ]\) *\*/$#\1#p;s#^ \* \(.*\)#\1#p;}' "$file")"
  done
}

[ $# -gt 0 ] || { list; exit 0; }
name=$1
shift
[[ $name =~ ^[a-z]+$ ]] && [ -f "bench/$name/$name.bench.ts" ] || {
  echo "bench: there is no bench called $name" >&2
  list >&2
  exit 2
}
while [ $# -gt 1 ]; do
  case $1 in
    --json) case $2 in /*) SKEP_BENCH_JSON=$2 ;; *) SKEP_BENCH_JSON=$from/$2 ;; esac; export SKEP_BENCH_JSON ;;
    --kernel) export SKEP_BENCH_KERNELS=$2 ;;
    --rounds) export SKEP_BENCH_ROUNDS=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
[ $# -eq 0 ] || { usage >&2; exit 2; }
npm run --silent build

# A run that is ended takes no labs down by itself.
leave_nothing() {
  local lab
  for lab in /run/skep-lab/b-"$name"-*; do
    [ ! -d "$lab" ] || bin/skep lab down --name "$(basename "$lab")"
  done
}
trap leave_nothing EXIT
trap 'kill "$run" 2>/dev/null; wait "$run" || true; exit 143' INT TERM
npx --no vitest run --project bench "bench/$name/$name.bench.ts" &
run=$!
wait "$run"
