#!/usr/bin/env bash
# Feeds the readers of what comes from outside with inputs of a fuzzer's making, each for a while:
#   ./scripts/fuzz.sh                     all targets, 600 seconds each
#   ./scripts/fuzz.sh 60 frame panel      these, a minute each
# frame: the serial line's frame decoder; panel and talk: the two ends of the line; message: what a broker hands over.
# A target is built with the address sanitizer; message holds llama.cpp and takes twenty minutes to build on two cores.
# The last lines say how often each ran; an input that breaks one is kept under its folder's artifacts/ and ends this.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need c++=g++ cmake=cmake clang=clang libclang=libclang-dev
command -v cargo-fuzz >/dev/null 2>&1 || cargo install --locked --quiet cargo-fuzz
seconds=${1:-600}
case "$seconds" in '' | *[!0-9]*) echo "usage: fuzz.sh [SECONDS] [frame|panel|talk|message...]" >&2; exit 2 ;; esac
shift || true
[ $# -gt 0 ] || set -- frame panel talk message

for target; do
  case "$target" in
    frame | panel | talk | message) ;;
    *) echo "fuzz.sh: no target $target; there are frame, panel, talk and message" >&2; exit 2 ;;
  esac
done

said=
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target; do
  if [ "$target" = message ]; then folder=runtime/edge/fuzz; else folder=firmware-host/fuzz; fi
  # The sanitizer is a flag of nightly compilers, which the project's own takes with this word.
  RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir "$folder" "$target" -- -max_total_time="$seconds" -print_final_stats=1 \
    2>&1 | tee "$log" >&2
  said+="$target: $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 runs in \2 s/p' "$log"), $(
    sed -n 's/.*cov: \([0-9]*\) .*/\1/p' "$log" | tail -1) edges covered"$'\n'
done
printf %s "$said"
