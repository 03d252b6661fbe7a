#!/usr/bin/env bash
# Builds the fuzzers with clang and runs each for some seconds, from seeds out of tests/ on:
#   tests/fuzz/run.sh [seconds [target]...]      90 seconds, all targets
# Prints the seed of the run (KVINFER_TEST_SEED replays it) and how often each target was executed. What
# was found stays in build/fuzz/corpus/<target> for the next run; an input that fails is written to
# build/fuzz/failures, and build/fuzz/bin/<target> FILE repeats it.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-90}
(($# == 0)) || shift
targets=("$@")
((${#targets[@]} > 0)) || targets=(disk_store_fuzz gguf_fuzz safetensors_fuzz tokenizer_json_fuzz chat_template_fuzz
  snapshot_fuzz)
seed=${KVINFER_TEST_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
build=build/fuzz

tests/setup.sh fuzz
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" \
  -DKVINFER_BUILD_APPS=OFF -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
  -DKVINFER_BUILD_FUZZERS=ON -DKVINFER_SANITIZE=fuzzer-no-link,address,undefined > /dev/null
cmake --build $build --target fuzz_seeds "${targets[@]}"

rm -rf $build/seeds
mkdir -p $build/failures $build/seeds/{disk_store,gguf,safetensors,tokenizer_json,chat_template,snapshot}_fuzz
$build/bin/fuzz_seeds $build/seeds
cp tests/goldens/tokenizer_json_*.json $build/seeds/tokenizer_json_fuzz
for model in tests/models/tiny/*/; do
  cp "$model/tokenizer.json" "$build/seeds/tokenizer_json_fuzz/$(basename "$model").json"
done
cp tests/models/templates/*.jinja $build/seeds/chat_template_fuzz
# The snippets are separated by lines of ====.
awk -v folder=$build/seeds/chat_template_fuzz \
  '/^====$/ { close(file); n++; next } { file = folder "/snippet" n; print > file }' \
  tests/generate/template_snippets.txt

failed=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target"
  log=$build/$target.log
  if $build/bin/"$target" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix=$build/failures/"$target"- \
    "$build/corpus/$target" "$build/seeds/$target" > "$log" 2>&1; then
    echo "$target: KVINFER_TEST_SEED=$seed, $(awk '/number_of_executed_units/ { print $2 }' "$log") executions, nothing found"
  else
    echo "$target: KVINFER_TEST_SEED=$seed, FAILED; the end of $log:"
    tail -n 40 "$log"
    failed=1
  fi
done
exit $failed
