#!/usr/bin/env bash
# Builds r2d-edge with the Vulkan backend and holds it against the same program on the CPU: what it reads of the pivots, and
# what it answers. The driver is Mesa's for the CPU (lavapipe), so this says whether the backend is right, not how fast it is.
#   ./scripts/check-vulkan.sh
# On Debian 12: its Vulkan headers are too old for llama.cpp, so those of Debian 13 are unpacked below target/vulkan; the
# driver and the shader compiler are installed. llama.cpp is compiled once more, some 15 minutes. Not part of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/debian.sh
root=$PWD
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev glslc=glslc python3=python3
driver=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
[ -e "$driver" ] || need "a Vulkan driver=mesa-vulkan-drivers"

sdk=$root/target/vulkan/sdk
if [ ! -e "$sdk/.complete" ]; then
  instead="a Vulkan SDK of 1.4 or later and VULKAN_SDK"
  lists=$root/target/vulkan/lists
  mkdir -p "$lists/partial"
  # Not among the lists: apt removes there what it does not know.
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >"$root/target/vulkan/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$root/target/vulkan/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::Lists=$lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
  apt-get "${apt[@]}" update -qq >&2 || die "apt-get update failed"
  unpack "$sdk" libvulkan-dev spirv-headers
fi
# The loader that is installed, under the name that the linker looks for.
ln -sf "$(ldconfig -p | sed -n 's/.*libvulkan\.so\.1 .*=> //p' | head -1)" "$sdk/usr/lib/x86_64-linux-gnu/libvulkan.so"

export VULKAN_SDK=$sdk/usr CMAKE_PREFIX_PATH=$sdk/usr CARGO_TARGET_DIR=$root/target/vulkan
RUSTFLAGS="-C target-cpu=native -L native=$sdk/usr/lib/x86_64-linux-gnu" \
  cargo build --release --locked -p r2d-edge --features vulkan >&2
edge=$CARGO_TARGET_DIR/release/r2d-edge

# Drivers that compute on the CPU are passed over unless they are named.
export GGML_VK_VISIBLE_DEVICES=0 VK_ICD_FILENAMES=$driver R2D_HOME=${R2D_HOME:-$root/target/test-home}
"$edge" models pull smollm2-135m-instruct >&2
# Whatever else it finds: of interest is the GPU.
found=$("$edge" doctor --json --set model.gpu_layers=999 | grep '"name":"gpu"' || true)
echo "$found"
case "$found" in *'"level":"ok"'*) ;; *) echo "check-vulkan.sh: the program finds no Vulkan device" >&2; exit 1 ;; esac
python3 scripts/check-vulkan.py "$edge"
