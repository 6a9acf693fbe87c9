#!/usr/bin/env bash
# Everything that must hold before a change lands; .ci/run calls this, and a person runs the same.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev

step() { printf '\n== %s\n' "$*"; "$@"; }
export R2D_REQUIRE_ALL=1   # a test that would be skipped fails instead

step cargo fmt --all --check
# These three are workspaces of their own.
step cargo fmt --check --manifest-path firmware-host/panel/Cargo.toml
step cargo fmt --check --manifest-path firmware-host/fuzz/Cargo.toml
step cargo fmt --check --manifest-path runtime/edge/fuzz/Cargo.toml
# One profile for everything: another one would compile llama.cpp again.
step cargo clippy --release --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --release --locked --workspace --no-deps
command -v cargo-deny >/dev/null 2>&1 || step cargo install --locked --quiet cargo-deny
# Advisories need a database from elsewhere: only where it can be had.
step cargo deny --all-features check bans licenses sources
step ./scripts/test.sh
