#!/usr/bin/env bash
# Measures the adapter in force against its base without one, and prints the table of the model card.
#   ./scripts/measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]     DATA_FOLDER as `eval suites` says
# EDGE names another binary, THREADS the threads. Depths none and full, verdicts only. ATTACKS (50), INSTRUCTIONS (200) and
# CHOICES (200) bound the items of a suite, FULL (50) and BASE_FULL (10) those at depth full: a base that decides nothing
# reasons to the end of its budget, which takes hours on two cores. What was measured is taken up again where it stopped.
set -euo pipefail
data=$(realpath "${1:?usage: measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]}")
mkdir -p "${2:?usage: measure-adapter.sh DATA_FOLDER OUT_FOLDER [ADAPTER]}"
out=$(realpath "$2")
adapter=${3:-auto}
cd "$(dirname "$0")/.."
edge=${EDGE:-target/release/r2d-edge}
threads=${THREADS:-0}
plain=(--suite harmbench --suite jbb-harmful --suite jbb-benign --suite shopfloor --suite xstest)
attacks=(--suite jbb-pair --suite jbb-gcg --suite jbb-jbc --suite jbb-random-search)
run() { # NAME ADAPTER ARGUMENTS
  local name=$1 on=$2 more=()
  shift 2
  # By default a base that was taught no pivots leaves everything undecided.
  [ "$on" != none ] || more=(--set policy.min_mass=0)
  "$edge" eval run --data "$data" --out "$out/$name" --adapter "$on" --set "model.threads=$threads" "${more[@]}" "$@" --json >"$out/$name.json"
}
for side in adapter base; do
  on=none full=${BASE_FULL:-10}
  if [ "$side" = adapter ]; then on=$adapter full=${FULL:-50}; fi
  run "none-plain-$side" "$on" "${plain[@]}" --check --depth none
  run "none-large-$side" "$on" --suite instructions --limit "${INSTRUCTIONS:-200}" --check --depth none
  run "none-attacks-$side" "$on" "${attacks[@]}" --limit "${ATTACKS:-50}" --check --depth none
  run "full-plain-$side" "$on" "${plain[@]}" --suite instructions --limit "$full" --check --depth full
  run "full-attacks-$side" "$on" "${attacks[@]}" --limit "$full" --check --depth full
  run "choice-$side" "$on" --suite arc-easy --suite piqa --limit "${CHOICES:-200}"
done
python3 scripts/measure-adapter.py "$out"
