#!/usr/bin/env bash
# Builds r2d-edge for 64-bit ARM on an x86-64 machine with Debian or Ubuntu, for one level of CPUs:
#   ./scripts/build-arm64.sh dotprod     armv8.2-a with dot products and half floats (default): Raspberry Pi 5, RK3588
#   ./scripts/build-arm64.sh i8mm        armv8.6-a, 8-bit matrix products too: newer server and board CPUs
#   ./scripts/build-arm64.sh plain       armv8-a: Raspberry Pi 4 and anything else
#   ./scripts/build-arm64.sh LEVEL test  runs it under qemu-user as well: the tests of core, firmware-host,
#                                        engine and the wire, `doctor`, and a tiny model, which answers and
#                                        whose readings are held against those on this machine, so its own
#                                        program and the default model must be here, as ./scripts/test.sh
#                                        leaves them
# The binary is target/arm64/LEVEL/aarch64-unknown-linux-gnu/release/r2d-edge; the last line printed is its path.
# With the target aarch64-unknown-linux-gnu installed (rustup target add) that toolchain is used. Otherwise Debian's Rust
# is unpacked into target/arm64/toolchain: nothing on the machine is replaced.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/debian.sh
root=$PWD
instead="rustup target add aarch64-unknown-linux-gnu"
level=${1:-dotprod}
what=${2:-build}
usage="usage: build-arm64.sh [plain|dotprod|i8mm] [build|test]"
case "$what" in build | test) ;; *) echo "$usage" >&2; exit 2 ;; esac
case "$level" in
  plain) ARM_ARCH=armv8-a ;;
  dotprod) ARM_ARCH=armv8.2-a+dotprod+fp16 ;;
  i8mm) ARM_ARCH=armv8.6-a+dotprod+fp16+i8mm ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
fail() { echo "build-arm64.sh: $1" >&2; exit "${2:-1}"; }
if [ "$what" = test ]; then
  here=$root/target/release/r2d-edge
  [ -x "$here" ] || fail "$here is not there to compare with; hint: ./scripts/test.sh" 2
  model=$(R2D_HOME=$root/target/test-home "$here" models path smollm2-135m-instruct) ||
    fail "target/test-home holds no default model; hint: ./scripts/test.sh, or
  R2D_HOME=$root/target/test-home ./scripts/run.sh models pull smollm2-135m-instruct" 2
fi
need cmake=cmake make=make clang=clang libclang=libclang-dev aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu \
  aarch64-linux-gnu-g++=g++-aarch64-linux-gnu

target=aarch64-unknown-linux-gnu
cargo=(cargo)
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  lists=$root/target/arm64/lists
  mkdir -p "$lists/partial"
  # The foreign architecture is known to these commands alone.
  apt=(-o APT::Architectures=amd64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
  [ -e "$root/target/arm64/toolchain/.complete" ] || apt-get "${apt[@]}" update -qq >&2 \
    || die "apt-get update failed (Ubuntu keeps arm64 on another server); hint: $instead"
  debian_rust "$root/target/arm64/toolchain" libstd-rust-web-dev:arm64
fi

export ARM_ARCH
export CARGO_TARGET_DIR=$root/target/arm64/$level
export CMAKE_TOOLCHAIN_FILE=$root/scripts/arm64.cmake
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=/usr/aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include"
# Replaces target-cpu=native of .cargo/config.toml. Rust's own code stays plain, so that a binary on a lesser CPU still
# lives long enough to say what it lacks.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+neon"
unset RUSTFLAGS

began=$SECONDS
"${cargo[@]}" build --release --locked --target "$target" -p r2d-edge >&2
program=$CARGO_TARGET_DIR/$target/release/r2d-edge
echo "$program: built in $((SECONDS - began)) s, $(stat -c %s "$program") bytes" >&2
# In the kernels of a level with dot products there must be some.
n=$(aarch64-linux-gnu-objdump -d "$program" | grep -cw '[su]dot' || true)
echo "$program has $n dot products" >&2
if [ "$level" = plain ]; then right=$((n == 0)); else right=$((n > 100)); fi
[ "$right" = 1 ] || fail "that is wrong for the level $level"

if [ "$what" = test ]; then
  need qemu-aarch64-static=qemu-user-static python3=python3
  qemu=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${qemu[*]}"
  # Without llama.cpp, which other features of its dependencies would have compiled once more.
  "${cargo[@]}" test --release --locked --target "$target" --lib --tests -p r2d-core -p r2d-firmware-host >&2
  "${cargo[@]}" test --release --locked --target "$target" --lib --tests -p r2d-engine --no-default-features >&2
  # What goes over the wire, and transcripts of the scripted model to their verdicts.
  "${cargo[@]}" test --release --locked --target "$target" -p r2d-tests --test wire --test golden >&2
  "${qemu[@]}" "$program" --version >&2

  venv=$root/target/venv-gguf
  [ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet gguf; }
  tiny=$root/target/arm64/tiny.gguf
  "$venv/bin/python" scripts/tiny-model.py "$model" "$tiny"
  export R2D_HOME=$root/target/arm64/home
  question="How do I oil the chain of a hoist?"
  reading() { # COMMAND...
    # Undecided is what a model of two layers comes to: exit code 1.
    "$@" check --json --model "$tiny" --adapter none --depth none \
      --set policy.second_looks=0 --set policy.min_mass=0 "$question" || [ $? = 1 ]
  }
  reading "$here" >"$tiny.here"
  reading "${qemu[@]}" "$program" >"$tiny.arm64"
  python3 - "$tiny.here" "$tiny.arm64" <<'PY'
import json, sys
a, b = (json.loads(open(path).readline()) for path in sys.argv[1:])
worst = max(abs(a[p] - b[p]) for p in ("safe", "unsafe", "rethink"))
print(f"tiny model: {a['pivot']} here, {b['pivot']} on arm64, probabilities differ by {worst:.4f} at most", file=sys.stderr)
sys.exit(a["pivot"] != b["pivot"] or worst > 0.05)
PY

  # Behind the readings, which pinned the tiny model: a new file would be tried in a child process, out of
  # qemu's reach. What else doctor finds, no broker say, ends it with 1 and is no matter of this program.
  { "${qemu[@]}" "$program" doctor --json --set model.name="$tiny" || [ $? = 1 ]; } >"$tiny.doctor"
  for name in "cpu code" model; do
    grep "\"name\":\"$name\"" "$tiny.doctor" >&2 || fail "doctor says nothing of the $name"
  done
  if grep -qE '"name":"(cpu code|model)","level":"fail"' "$tiny.doctor"; then fail "doctor fails there"; fi
  # Unguarded, for such a model's pivots let nothing out: undecided, exit code 1, behind an answer.
  { "${qemu[@]}" "$program" ask --json --unguarded --model "$tiny" --adapter none \
    --set policy.deadline_ms=600000 --set policy.max_answer_tokens=8 "$question" ||
    [ $? = 1 ]; } >"$tiny.answer"
  tail -1 "$tiny.answer" >&2
  grep -q '"event":"verdict".*"reason":"unguarded"' "$tiny.answer" || fail "ask gave no answer under qemu"
fi
echo "$program"
