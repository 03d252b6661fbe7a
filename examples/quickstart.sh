#!/usr/bin/env bash
# From a fresh Debian 12 machine to text that a real model wrote: installs what is missing, builds,
# fetches a small model once, generates. Run it again as often as you like; what is there is kept.
#
#   ./examples/quickstart.sh ["a question"]
set -euo pipefail
cd "$(dirname "$0")/.."
question=${1:-Why is the sky blue? Answer in two sentences.}
cache=${KVINFER_CACHE:-~/.cache/kvinfer}
model=$cache/SmolLM2-135M-Instruct.Q4_1.gguf

echo "==> 1/4 Debian packages"
tests/setup.sh build
echo "==> 2/4 Building the library and the kvinfer command (build/release)"
cmake --preset release
cmake --build --preset release --target kvinfer-cli
echo "==> 3/4 The model SmolLM2-135M-Instruct"
tests/fetch_models.sh smollm2
echo "==> 4/4 build/release/bin/kvinfer run -m $model --chat -p \"$question\""
build/release/bin/kvinfer run -m "$model" --chat -p "$question"
