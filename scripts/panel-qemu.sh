#!/usr/bin/env bash
# Builds the panel's firmware and runs it in QEMU.
#   ./scripts/panel-qemu.sh test     build, say size and memory, run the tests against it in QEMU (default)
#   ./scripts/panel-qemu.sh build    build, say size and memory
#   ./scripts/panel-qemu.sh env      build, and print what the tests need as shell commands; exit 3: not to be had here
#   ./scripts/panel-qemu.sh run      run it: the line as a serial device of this machine, buttons from the keyboard
# With the target thumbv7m-none-eabi and qemu-system-arm installed those are used. Otherwise Debian's packages are
# unpacked into a folder under target/: nothing on the machine is replaced, nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=$root/target/panel-toolchain
firmware=$root/firmware-host/panel
# For a board, and for QEMU, which is a debugger.
plain=$firmware/target/thumbv7m-none-eabi/release/r2d-panel
kernel=$firmware/target/semihosting/thumbv7m-none-eabi/release/r2d-panel

. scripts/debian.sh
instead="install the rust target thumbv7m-none-eabi and qemu-system-arm"

# Sets cargo, rustc and flags for the firmware.
toolchain() {
  local lld
  lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
  [ -x "$lld" ] || lld=$(command -v ld.lld || command -v rust-lld || true)
  [ -n "$lld" ] || die "no rust-lld and no ld.lld; hint: install lld"
  export CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER=$lld
  cargo=(cargo)
  std=()
  [ -d "$(rustc --print sysroot)/lib/rustlib/thumbv7m-none-eabi" ] && return
  debian_rust "$cache/rust" rust-web-src
  cargo=(env RUSTC_BOOTSTRAP=1 "${cargo[@]}")
  std=(-Zbuild-std=core)
}

# As for a board, and with semihosting, by which the tests read what the firmware says.
build() {
  toolchain
  (cd "$firmware" && "${cargo[@]}" build --release --locked "${std[@]}" >&2) || exit 1
  (cd "$firmware" && "${cargo[@]}" build --release --locked --features semihosting --target-dir target/semihosting \
    "${std[@]}" >&2) || exit 1
  size >&2
}

# Flash is text and the initial values of data; RAM is data and what starts as zero. The rest of RAM is stack.
size() {
  python3 - "$plain" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
offset, = struct.unpack_from("<I", data, 32)
width, count, names = struct.unpack_from("<HHH", data, 46)
sections = [struct.unpack_from("<10I", data, offset + i * width) for i in range(count)]
flash = ram = 0
for name, kind, flags, address, at, n, *_ in sections:
    if flags & 2:                       # takes memory when it runs
        if address < 0x2000_0000:
            flash += n
        else:
            ram += n
            flash += n if kind == 1 else 0
print(f"firmware: {flash} bytes of flash, {ram} bytes of static RAM")
PY
}

# Sets qemu to a command that runs qemu-system-arm.
emulator() {
  if command -v qemu-system-arm >/dev/null 2>&1; then
    qemu=$(command -v qemu-system-arm)
    return
  fi
  local packages
  # What an installation would bring, were it not for what it would remove.
  packages=$(apt-get install -s --no-install-recommends qemu-system-arm 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  [ -n "$packages" ] || die "qemu-system-arm is not to be had here"
  # shellcheck disable=SC2086
  unpack "$cache/qemu" $packages
  qemu=$cache/qemu/run
  cat >"$qemu" <<SH
#!/bin/sh
here=$cache/qemu
LD_LIBRARY_PATH=\$here/usr/lib/x86_64-linux-gnu:\$here/lib/x86_64-linux-gnu:\$here/usr/lib/x86_64-linux-gnu/pulseaudio
export LD_LIBRARY_PATH
exec \$here/usr/bin/qemu-system-arm -L \$here/usr/share/qemu "\$@"
SH
  chmod +x "$qemu"
}

case "${1:-test}" in
  build) build ;;
  test)
    build
    emulator
    export R2D_PANEL_KERNEL=$kernel R2D_QEMU_ARM=$qemu
    cargo test --release --locked -p r2d-firmware-host --test panel -- --nocapture --test-threads=1
    ;;
  env)
    build
    emulator
    printf 'export R2D_PANEL_KERNEL=%q R2D_QEMU_ARM=%q\n' "$kernel" "$qemu"
    ;;
  run)
    build
    emulator
    echo "keys: s stop, r reset, a approve, 1 to 9 ask; ctrl-a x ends it. QEMU names the line's device, /dev/pts/N:" >&2
    echo "  r2d-edge serve --set 'panel.lines=[\"/dev/pts/N=press-4\"]'" >&2
    exec "$qemu" -cpu cortex-m3 -M lm3s6965evb -display none -monitor none -semihosting-config enable=on,target=native \
      -serial pty -serial mon:stdio -kernel "$kernel"
    ;;
  *) echo "usage: panel-qemu.sh [test|build|env|run]" >&2; exit 2 ;;
esac
