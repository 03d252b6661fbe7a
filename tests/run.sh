#!/usr/bin/env bash
# Runs every test: installs what is missing, fetches the models, builds the presets release, asan and
# tsan, and runs their ctests (the checks of style, packaging and ABI are ctests of release).
# Ends with the ten slowest tests and one line: N passed, N failed, N skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

results=$PWD/build/results
rm -rf "$results"
mkdir -p "$results"
broken=()  # steps that failed outside ctest; each counts as one failed test

step() {  # name command...
  local name=$1 begin=$SECONDS
  shift
  echo "==> $name: $*"
  if ! "$@"; then
    broken+=(--broken "$name")
    echo "==> $name FAILED"
    return 1
  fi
  echo "==> $name took $((SECONDS - begin)) s"
}

run_preset() {  # preset ctest-arguments...
  local preset=$1 begin=$SECONDS
  shift
  step "configure $preset" cmake --preset "$preset" || return 0
  step "build $preset" cmake --build --preset "$preset" || return 0
  echo "==> test $preset: ctest --preset $preset $*"
  # ctest's exit status is in the XML too; a crash of ctest leaves none, which the summary sees.
  ctest --preset "$preset" -j "$(nproc)" --output-junit "$results/$preset.xml" "$@" || true
  echo "==> test $preset took $((SECONDS - begin)) s, its build included"
}

step setup tests/setup.sh test || exit 1
step "fetch smollm2" tests/fetch_models.sh smollm2 || true
step "fetch gemma3" tests/fetch_models.sh gemma3 || true
run_preset release
run_preset asan
run_preset tsan

echo "==> all took $((SECONDS / 60)) min $((SECONDS % 60)) s"
python3 tests/summarize.py "${broken[@]}" "$results"/{release,asan,tsan}.xml
