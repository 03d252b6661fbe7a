#!/usr/bin/env bash
# Checks the CUDA backend on a machine with an NVIDIA GPU, CUDA's toolkit, CMake and Python.
#   tests/gpu.sh [--deps FOLDER] [--build FOLDER] [--only GROUP] [--sanitize]
#   tests/gpu.sh --pack FOLDER      copies what such a machine lacks into FOLDER, on one that has it
#   --deps   what --pack made: gtest, nlohmann_json, CLI11, xxhash, pcre2 and pkgconf
#   --build  the build's folder (default: build/gpu); what is built there already is not built again
#   --only   driver, kernels, models or bench; with --sanitize memcheck, racecheck or initcheck
#   --json   where the results of bench go (default: build/gpu/results/bench.json)
#   --sanitize  small shapes under compute-sanitizer instead
# Ends with one line: N passed, N failed, N skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

deps='' build=build/gpu only='' sanitize=0 json=''
pack() {  # folder
  local package file
  for package in libgtest-dev libpcre2-dev libpcre2-8-0 nlohmann-json3-dev libcli11-dev libxxhash-dev pkgconf-bin libpkgconf3; do
    dpkg -L "$package" | while read -r file; do
      [[ -f $file || -L $file ]] || continue
      [[ $file != /usr/share/doc/* && $file != /usr/share/man/* ]] || continue
      mkdir -p "$1$(dirname "$file")"
      cp -a "$file" "$1$file"
    done
  done
}
while (($# > 0)); do
  case $1 in
    --pack) pack "$2"; exit ;;
    --deps) deps=$(realpath "$2"); shift 2 ;;
    --build) build=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    --json) json=$2; shift 2 ;;
    --sanitize) sanitize=1; shift ;;
    *) echo "unknown argument $1" >&2; exit 2 ;;
  esac
done

options=(-DCMAKE_BUILD_TYPE=Release -DKVINFER_CUDA=ON -DKVINFER_BUILD_APPS=ON)
if [[ -n $deps ]]; then
  lib=$deps/usr/lib/x86_64-linux-gnu
  export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PKG_CONFIG_SYSROOT_DIR=$deps PKG_CONFIG_LIBDIR=$lib/pkgconfig
  options+=("-DCMAKE_PREFIX_PATH=$deps/usr;$lib" "-DPKG_CONFIG_EXECUTABLE=$deps/usr/bin/pkgconf")
fi
if command -v ninja > /dev/null; then options+=(-G Ninja); fi

# A compiler that CI does not know may warn of more.
options+=(-DKVINFER_WERROR=OFF)
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
begin=$SECONDS
mkdir -p "$(dirname "$build")"
cmake -S . -B "$build" "${options[@]}" > "$build.configure.log" 2>&1 || { tail -20 "$build.configure.log"; exit 1; }
cmake --build "$build" -j "$(nproc)" --target cuda_driver_tests cuda_gpu_tests tiny_model_tests \
  same_tokens_tests cuda_engine_tests attention_plan_tests cuda_bench kvinfer-cli > "$build.build.log" 2>&1 || { grep -E 'error|FAILED' "$build.build.log" | cut -c1-300 | head -30; exit 1; }
echo "==> built in $((SECONDS - begin)) s"

results=$build/results
rm -rf "$results"
mkdir -p "$results"

check() {  # group program filter [runner...]: one run of a test program
  local group=$1 program=$2 filter=$3
  shift 3
  [[ -z $only || $only == "$group" ]] || return 0
  local log=$results/$group-$program${1:+-sanitized}.log begin=$SECONDS
  "$@" "$build/bin/$program" --gtest_filter="$filter" --gtest_output="xml:${log%.log}.xml" > "$log" 2>&1 || true
  [[ -f ${log%.log}.xml ]] || echo "<testsuite><testcase name='$program'><failure/></testcase></testsuite>" > "${log%.log}.xml"
  grep -E 'Failure$|Segmentation|=========.*(Invalid|Error|hazard|Uninitialized)' -A 6 "$log" | head -40 || true
  echo "==> $group: $program ${1:-} took $((SECONDS - begin)) s"
}

# Checks first, then measurements, each verified before it is timed.
if ((sanitize)); then
  # Small shapes: a checked kernel is up to a hundred times slower.
  small='CudaKernelTest.*:CudaSamplingTest.Ties*:CudaFastLinearTest.Gated*:CudaPagedKernelTest.Heads*:CudaExecutorTest.EveryFamily*'
  for tool in memcheck racecheck initcheck; do
    check "$tool" cuda_gpu_tests "$small" compute-sanitizer --tool "$tool" --error-exitcode 1 --destroy-on-device-error kernel
    if [[ -z $only || $only == "$tool" ]] && ! grep -q 'ERROR SUMMARY: 0 errors\|RACECHECK SUMMARY: 0 hazards' "$results/$tool-"*.log; then
      echo "<testsuite><testcase name='$tool'><failure/></testcase></testsuite>" > "$results/$tool-summary.xml"
      grep SUMMARY "$results/$tool-"*.log || tail -3 "$results/$tool-"*.log
    fi
  done
else
  check driver cuda_driver_tests '*'
  check driver cuda_engine_tests '*'
  check driver attention_plan_tests '*'
  check kernels cuda_gpu_tests '*'
  check models tiny_model_tests '*'
  check models same_tokens_tests 'Gpu/*'
  if [[ -z $only || $only == bench ]]; then
    "$build/bin/cuda_bench" --json "${json:-$results/bench.json}" ||
      echo "<testsuite><testcase name='bench'><failure/></testcase></testsuite>" > "$results/bench.xml"
  fi
fi
python3 - "$results" <<'PY'
import pathlib, sys, xml.etree.ElementTree as tree
passed = failed = skipped = 0
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.xml")):
    for case in tree.parse(file).iter("testcase"):
        if case.find("failure") is not None:
            failed += 1
        elif case.get("result") == "skipped" or case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or passed == 0)
PY
