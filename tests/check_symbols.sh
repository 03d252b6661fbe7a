#!/usr/bin/env bash
# What the shared library shows to its host: only kvi_* is exported; loading it runs no constructor of
# ours; no thread_local needs a destructor (it would keep the library mapped); nothing ends the process,
# touches its signals or writes to its stdout. Usage: check_symbols.sh LIBRARY
set -euo pipefail
library=$1
failed=0

fail() { echo "$1"; failed=1; }

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }')
strange=$(grep -v '^kvi_' <<< "$exported" || true)
[[ -z $strange ]] || fail "exported, but not kvi_*: $strange"
grep -q '^kvi_' <<< "$exported" || fail "nothing is exported"

# .init_array holds one pointer: the compiler's own frame_dummy.
constructors=$(readelf -SW "$library" | awk '{ sub(/^ *\[ *[0-9]+\] */, "") } $1 == ".init_array" { print $5 }')
if ((16#${constructors:-0} > 8)); then
  fail ".init_array holds $((16#$constructors / 8 - 1)) constructors: $(nm -C "$library" | grep -E '_GLOBAL__sub_I|constructor|cpu_indicator_init' || true)"
fi

imported=$(nm -D --undefined-only "$library" | awk '{ sub(/@.*/, "", $2); print $2 }')
forbidden='^(__cxa_thread_atexit(_impl)?|abort|_?exit|_Exit|quick_exit|__assert_fail|signal|sigaction|raise|kill|system|setenv|putenv|setlocale|printf|puts|putchar|perror|stdout|stderr|_ZSt4cout|_ZSt4cerr|_ZSt4clog)$'
found=$(grep -E "$forbidden" <<< "$imported" || true)
[[ -z $found ]] || fail "the library must not use: ${found//$'\n'/ }"

((failed)) || echo "$(grep -c '^kvi_' <<< "$exported") functions are exported, and nothing else"
exit "$failed"
