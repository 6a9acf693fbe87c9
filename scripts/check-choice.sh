#!/usr/bin/env bash
# Holds `eval`'s choice scoring against PyTorch + transformers on the same model, prompts and normalisation.
#   ./scripts/check-choice.sh DATA_FOLDER [ITEMS]     DATA_FOLDER as `eval suites` says; 200 items by default
# Not part of the tests: PyTorch alone is some 3 GB, in a virtual environment below target/.
set -euo pipefail
data=$(realpath "${1:?usage: check-choice.sh DATA_FOLDER [ITEMS]}")
items=${2:-200}
cd "$(dirname "$0")/.."
venv=${VENV:-target/venv}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet torch transformers gguf accelerate
fi
./scripts/run.sh models pull smollm2-135m-instruct >&2
model=$(./scripts/run.sh models path smollm2-135m-instruct)
./scripts/run.sh eval run --suite arc-easy --data "$data" --limit "$items" --out "target/check-choice-$items"
"$venv/bin/python" scripts/check-choice.py "$model" "target/check-choice-$items" --limit "$items"
