#!/usr/bin/env bash
# Compiles and links r2d-edge with the CUDA backend on a machine without a GPU, for one kind of GPU.
#   ./scripts/check-cuda.sh [ARCHITECTURE]      87, a Jetson Orin's, by default; 87-virtual stops at PTX, which a driver
#                                               compiles when it loads the program, and takes half the time
# Shows that the feature `cuda` compiles and links with this CUDA, that code for that GPU is in the program, and that the
# program starts where there is none. It computes nothing on a GPU: whether that is right and fast, only a GPU can tell.
# NVIDIA's compiler and libraries come from the Python package index (1 GB unpacked, under NVIDIA's own licence) into
# target/cuda. The flash attention kernels, most of the work, are compiled with GGML_CUDA_FA=ON alone. Not part of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
root=$PWD
architecture=${1:-87}
need cmake=cmake g++=g++ make=make clang=clang libclang=libclang-dev python3=python3

sdk=$root/target/cuda/sdk/nvidia/cu13
if [ ! -e "$root/target/cuda/sdk/.complete" ] || [ ! -x "$sdk/bin/cuobjdump" ]; then
  rm -rf "$root/target/cuda/sdk"
  python3 -m pip install --quiet --no-deps --only-binary :all: --target "$root/target/cuda/sdk" nvidia-cuda-nvcc==13.5.37 \
    nvidia-cuda-crt==13.5.37 nvidia-nvvm==13.5.37 nvidia-cuda-runtime==13.5.37 nvidia-cublas==13.10.0.20 nvidia-cuda-cccl==13.3.5.0.6 nvidia-cuda-cuobjdump==13.5.37
  chmod +x "$sdk"/bin/* "$sdk"/nvvm/bin/* 2>/dev/null || true
  # The names that linkers look for, and the places where CMake does.
  for library in cudart cublas cublasLt; do
    ln -sf "$(basename "$(find "$sdk/lib" -name "lib$library.so.*" | sort | head -1)")" "$sdk/lib/lib$library.so"
  done
  ln -sfn lib "$sdk/lib64"
  # Not among the packages: cuBLAS as an archive, for which the shared one is linked, and the driver, which a machine with
  # a GPU has. Its stand-in has the names that llama.cpp asks for and fails like a driver without a device.
  for library in cublas_static cublasLt_static culibos; do ar rcs "$sdk/lib/lib$library.a"; done
  mkdir -p "$sdk/lib/stubs"
  for name in cuDeviceGet cuDeviceGetAttribute cuGetErrorString cuMemAddressFree cuMemAddressReserve cuMemCreate \
    cuMemGetAllocationGranularity cuMemMap cuMemRelease cuMemSetAccess cuMemUnmap; do
    echo "int $name(void) { return 100; }"
  done | gcc -shared -fPIC -x c -Wl,-soname,libcuda.so.1 -o "$sdk/lib/stubs/libcuda.so" -
  ln -sf libcuda.so "$sdk/lib/stubs/libcuda.so.1"
  touch "$root/target/cuda/sdk/.complete"
fi

export CUDA_PATH=$sdk CUDAToolkit_ROOT=$sdk CUDACXX=$sdk/bin/nvcc CMAKE_CUDA_ARCHITECTURES=$architecture
export GGML_CUDA_FA=${GGML_CUDA_FA:-OFF} CARGO_TARGET_DIR=$root/target/cuda
export LD_LIBRARY_PATH=$sdk/lib:$sdk/lib/stubs
RUSTFLAGS="-C target-cpu=native -L native=$sdk/lib -L native=$sdk/lib/stubs -C link-arg=-lcublas -C link-arg=-lcublasLt" \
  cargo build --release --locked -p r2d-edge --features cuda >&2
edge=$CARGO_TARGET_DIR/release/r2d-edge

case $architecture in
  *-virtual) list=--list-ptx ;;
  *) list=--list-elf ;;
esac
"$sdk/bin/cuobjdump" "$list" "$edge" >"$CARGO_TARGET_DIR/pieces"
n=$(grep -c "sm_${architecture%%-*}" "$CARGO_TARGET_DIR/pieces" || true)
echo "$edge has $n pieces of code for $architecture, $(stat -c %s "$edge") bytes in all" >&2
[ "$n" -gt 0 ] || { echo "check-cuda.sh: there is no code for $architecture in it" >&2; exit 1; }
export R2D_HOME=${R2D_HOME:-$root/target/test-home}
"$edge" --version
# Whatever else it finds, which ends it with 1: of interest is the GPU.
{ "$edge" doctor --json --set model.gpu_layers=999 || [ $? = 1 ]; } | grep '"name":"gpu"' ||
  { echo "check-cuda.sh: doctor failed, or says nothing of a gpu" >&2; exit 1; }
