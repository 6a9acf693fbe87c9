#!/usr/bin/env bash
# Measures the adapter in force against its base without one, and prints the table of the model card.
#   ./scripts/measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]     DATA_FOLDER as `eval suites` says
# EDGE names another binary, THREADS the threads. Depths none and full, verdicts only. FULL (100) and BASE_FULL (30) bound the items of a suite at depth full, INSTRUCTIONS
# (200) and CHOICES (200) those of the large suites: a base that decides nothing reasons to the end of its budget, which
# takes hours on two cores. What was measured is taken up again where it stopped.
set -euo pipefail
data=$(realpath "${1:?usage: measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]}")
mkdir -p "${2:?usage: measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]}"
out=$(realpath "$2")
adapter=${3:-auto}
cd "$(dirname "$0")/.."
edge=${EDGE:-target/release/r2d-edge}
threads=${THREADS:-0}
harm=(--suite harmbench --suite jbb-harmful --suite jbb-pair --suite jbb-gcg --suite jbb-jbc --suite jbb-random-search)
both=(--suite shopfloor --suite xstest)
run() { # NAME ADAPTER ARGUMENTS
  local name=$1 on=$2
  shift 2
  "$edge" eval run --data "$data" --out "$out/$name" --adapter "$on" --set "model.threads=$threads" "$@" --json >"$out/$name.json"
}
for side in base adapter; do
  on=none full=${BASE_FULL:-30}
  if [ "$side" = adapter ]; then on=$adapter full=${FULL:-100}; fi
  run "none-$side" "$on" "${harm[@]}" "${both[@]}" --check --depth none
  run "none-plain-$side" "$on" --suite instructions --limit "${INSTRUCTIONS:-200}" --check --depth none
  run "full-$side" "$on" "${harm[@]}" "${both[@]}" --suite instructions --limit "$full" --check --depth full
  run "choice-$side" "$on" --suite arc-easy --suite piqa --limit "${CHOICES:-200}"
done
python3 scripts/measure-adapter.py "$out"
