#!/usr/bin/env bash
# Holds an adapter in our engine against the same one in llama-cpp-python: 20 prompts, greedy, the same text.
#   ./scripts/check-adapter.sh [ADAPTER.gguf]     by default the one that ships
# VENV=DIR uses another virtual environment. Not part of the tests: llama-cpp-python compiles its own llama.cpp, some ten minutes.
set -euo pipefail
adapter=$(realpath "${1:-"$(dirname "$0")/../models/smollm2-135m-r2d/adapter.gguf"}")
cd "$(dirname "$0")/.."
venv=${VENV:-target/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
# Without AMX, for the reason in .cargo/config.toml.
"$venv/bin/python" -c 'import llama_cpp' 2>/dev/null ||
  CXXFLAGS="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" "$venv/bin/pip" install --quiet llama-cpp-python
./scripts/run.sh models pull smollm2-135m-instruct >&2
model=$(./scripts/run.sh models path smollm2-135m-instruct)
"$venv/bin/python" scripts/check-adapter.py target/release/r2d-edge "$model" "$adapter"
