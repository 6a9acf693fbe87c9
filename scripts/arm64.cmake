# CMake's toolchain for aarch64 Linux with GCC, for scripts/build-arm64.sh; ARM_ARCH is what the kernels may use.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# The crate pins plain armv8-a, which has no dot products: quantised kernels would take several times as long.
set(GGML_CPU_ARM_ARCH "$ENV{ARM_ARCH}" CACHE STRING "" FORCE)
# Else CMake takes the host's.
set(LLAMA_OPENSSL OFF CACHE BOOL "" FORCE)
