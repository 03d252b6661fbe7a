#!/usr/bin/env bash
# Checks the style of every tracked source and script: clang-format and shellcheck.
#   tests/lint.sh          names what is not formatted, and fails
#   tests/lint.sh --fix [files]   formats them (all, or those named)
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
(($# == 0)) || shift
sources=("$@")
if ((${#sources[@]} == 0)); then
  mapfile -t sources < <(git ls-files '*.h' '*.hpp' '*.c' '*.cc' '*.cpp')
fi
case $mode in
  --fix)
    clang-format -i "${sources[@]}"
    exit ;;
  '') ;;
  *) echo "usage: tests/lint.sh [--fix [files]]" >&2; exit 2 ;;
esac

failed=0
clang-format --dry-run --Werror --ferror-limit=1 "${sources[@]}" || failed=1
((failed == 0)) || echo "tests/lint.sh --fix formats them"
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
shellcheck "${scripts[@]}" || failed=1
exit "$failed"
