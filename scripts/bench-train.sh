#!/usr/bin/env bash
# Trains the same steps with r2d-edge and with PyTorch + PEFT and compares speed and memory.
#   ./scripts/bench-train.sh TRAJECTORIES.jsonl [STEPS] [THREADS]      20 steps, 2 threads by default
# The two take turns; the first step of each turn warms up and is not counted. Take figures on an idle machine.
# VENV=DIR uses a virtual environment that has torch, transformers, peft, gguf and accelerate; without it one is made
# below target/ (3 GB from PyPI). RECIPE=FILE takes another recipe, which must name every key of [train]. Not part of
# the tests.
set -euo pipefail
data=$(realpath "${1:?usage: bench-train.sh TRAJECTORIES.jsonl [STEPS] [THREADS]}")
steps=${2:-20}
threads=${3:-2}
venv=${VENV:+$(realpath "$VENV")}
recipe=${RECIPE:+$(realpath "$RECIPE")}
cd "$(dirname "$0")/.."
venv=${venv:-target/venv}
recipe=${recipe:-models/smollm2-135m-r2d/recipe.toml}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import torch, transformers, peft, gguf, accelerate' 2>/dev/null; then
  "$venv/bin/pip" install --quiet torch transformers peft gguf accelerate
fi
./scripts/run.sh models pull smollm2-135m-instruct >&2
model=$(./scripts/run.sh models path smollm2-135m-instruct)
"$venv/bin/python" scripts/bench-train.py run --binary target/release/r2d-edge --model "$model" --data "$data" \
  --recipe "$recipe" --steps "$steps" --threads "$threads"
