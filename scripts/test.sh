#!/usr/bin/env bash
# Sets everything up and runs all tests, those on the real model and the real brokers too.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev mosquitto_pub=mosquitto-clients python3=python3
# Where Debian has servers, which an ordinary user's path leaves out.
export PATH="$PATH:/usr/sbin"
if ! command -v mosquitto >/dev/null 2>&1; then
  need mosquitto=mosquitto
  # Debian starts what was just installed, on the port that run.sh serves on.
  sudo=''
  [ "$(id -u)" = 0 ] || sudo=sudo
  [ ! -d /run/systemd/system ] || $sudo systemctl disable --quiet --now mosquitto
fi

cargo build --release --locked -p r2d-edge
# The tests' own state: what a user has pulled or served is neither used nor changed.
export R2D_HOME="$PWD/target/test-home"
target/release/r2d-edge models pull smollm2-135m-instruct
# The panel's firmware runs in QEMU where its toolchain can be had; a firmware that does not build is a failure.
panel=$(./scripts/panel-qemu.sh env) && status=0 || status=$?
case $status in
  0) eval "$panel" ;;
  3) export R2D_PANEL_UNAVAILABLE=1 ;;
  *) exit "$status" ;;
esac
cargo test --release --locked --workspace
# std must not leak into what a microcontroller runs: with the workspace's features unified nobody would see it.
cargo build --release --locked -p r2d-core --no-default-features
cargo build --release --locked -p r2d-firmware-host
