#!/usr/bin/env bash
# Sets everything up and runs r2d-edge: with no arguments `serve`, else what the arguments say.
#   ./scripts/run.sh                     serve requests over MQTT
#   ./scripts/run.sh ask "a question"    one question on the terminal
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev

if [ ! -x target/release/r2d-edge ]; then
  echo "building; the first build compiles llama.cpp and takes some minutes" >&2
fi
cargo build --release --quiet --locked -p r2d-edge ${FEATURES:+--features "$FEATURES"} >&2
program=$PWD/target/release/r2d-edge

[ $# -gt 0 ] || set -- serve
case "$1" in
  ask | check | serve | bench)
    # Only the default model is fetched unasked; another one is named, and fetched, by its user.
    default=smollm2-135m-instruct
    "$program" models path "$default" >/dev/null 2>&1 || "$program" models pull "$default" >&2
    ;;
esac
exec "$program" "$@"
