#!/usr/bin/env bash
# Makes a Debian package of r2d-edge for amd64 or arm64, with all that a service needs.
#   ./scripts/package.sh amd64           one build for x86-64-v3 (AVX2: PCs since 2013, Atoms since 2021)
#   ./scripts/package.sh arm64           two builds, plain and dotprod; /usr/bin/r2d-edge starts the one that fits the CPU
#   LEVELS="plain dotprod i8mm" ./scripts/package.sh arm64
# The package lies in target/package; the last line printed is its path.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev dpkg-deb=dpkg dpkg-shlibdeps=dpkg-dev gzip=gzip
command -v cargo-deb >/dev/null 2>&1 || cargo install --locked --quiet cargo-deb

root=$PWD
arch=${1:?usage: package.sh amd64|arm64}
stage=$root/target/package/stage
rm -rf "$stage"
mkdir -p "$stage"/{lib,man,bash,zsh,fish,config}

case "$arch" in
  amd64)
    target=x86_64-unknown-linux-gnu
    for level in ${LEVELS:-v3}; do
      case "$level" in
        plain) cpu=x86-64 ;;
        v3) cpu=x86-64-v3 ;;
        *) echo "package.sh: amd64 has the levels plain and v3, not $level" >&2; exit 2 ;;
      esac
      CARGO_TARGET_DIR=$root/target/amd64/$level RUSTFLAGS="-C target-cpu=$cpu" \
        cargo build --release --locked --target "$target" -p r2d-edge >&2
      install -D "target/amd64/$level/$target/release/r2d-edge" "$stage/lib/$level/r2d-edge"
    done
    ;;
  arm64)
    target=aarch64-unknown-linux-gnu
    for level in ${LEVELS:-plain dotprod}; do
      # By itself: a build that fails inside another command's words would not end this script.
      built=$(./scripts/build-arm64.sh "$level" | tail -1)
      install -D "$built" "$stage/lib/$level/r2d-edge"
    done
    ;;
  *) echo "usage: package.sh amd64|arm64" >&2; exit 2 ;;
esac

# What the program prints of itself is the same for every CPU, so one that runs here prints it.
cargo build --release --locked -p r2d-edge >&2
program=$root/target/release/r2d-edge
"$program" man "$stage/man"
gzip -9n "$stage"/man/*
"$program" completions bash >"$stage/bash/r2d-edge"
"$program" completions zsh >"$stage/zsh/_r2d-edge"
"$program" completions fish >"$stage/fish/r2d-edge.fish"
"$program" config example >"$stage/config/config.toml"

# Not cargo-deb's --target: it would look for the binary where one build alone leaves it.
deb=$(cd runtime/edge && cargo deb --no-build --no-strip --target "$target" --quiet --output "$root/target/package/" | tail -1)

# Of a cross-compiler's libc only the version is known, and is taken for what the program needs. That is what its symbols say.
glibc=$(readelf -W --dyn-syms "$stage"/lib/*/r2d-edge | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
unpacked=$root/target/package/unpacked
rm -rf "$unpacked"
dpkg-deb -R "$deb" "$unpacked"
sed -i -E "/^Depends:/{s/:$arch//g;s/libc6 \(>= [0-9.]+\)/libc6 (>= ${glibc#GLIBC_})/}" "$unpacked/DEBIAN/control"
dpkg-deb -Zxz --root-owner-group -b "$unpacked" "$deb" >&2
depends=$(dpkg-deb -f "$deb" Depends)
case "$depends" in
  *"libc6 (>= ${glibc#GLIBC_})"*) echo "depends on $depends" >&2 ;;
  *) echo "package.sh: the package does not say which libc it needs: $depends" >&2; exit 1 ;;
esac
echo "$deb"
