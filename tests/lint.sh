#!/usr/bin/env bash
# Checks the style of every tracked source and script: clang-format and shellcheck.
#   tests/lint.sh          names what is not formatted, and fails
#   tests/lint.sh --fix [files]   formats them (all, or those named)
# Exits with 77 where one of the tools, or the list of tracked files, is not there, and says which.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! git ls-files --error-unmatch tests/lint.sh > /dev/null 2>&1; then
  echo "SKIP: this is not a git checkout"
  exit 77
fi
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

failed=0 missing=()
if command -v clang-format > /dev/null; then
  clang-format --dry-run --Werror --ferror-limit=1 "${sources[@]}" || failed=1
  ((failed == 0)) || echo "tests/lint.sh --fix formats them"
else
  missing+=(clang-format)
fi
if command -v shellcheck > /dev/null; then
  mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
  shellcheck "${scripts[@]}" || failed=1
else
  missing+=(shellcheck)
fi
if ((failed == 0 && ${#missing[@]} > 0)); then
  echo "SKIP: not installed: ${missing[*]} (tests/setup.sh test)"
  exit 77
fi
exit "$failed"
