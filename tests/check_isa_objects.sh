#!/usr/bin/env bash
# No function that the linker may share comes from an object of one instruction set. An inline function that
# a compiler leaves out of line is in every object that uses it, the linker keeps one of them, and a machine
# without AVX-512 must not meet the AVX-512 one. Usage: check_isa_objects.sh BUILD_DIR
set -euo pipefail
nm -A --defined-only "$1"/lib/*/libkvinfer_*.a | awk '
  $2 ~ /^[WVu]$/ {
    split($1, place, ":")
    isa = match(place[2], /_(avx2|avx_vnni|avx512|amx|sha_ni)\.cc\.o$/) ? place[2] : ""
    if (!seen[$3, isa]++) { isas[$3]++; if (isa != "") of_isa[$3] = of_isa[$3] " " isa }
  }
  END {
    for (name in of_isa) if (isas[name] > 1) { print name " is shared by" of_isa[name] " and others"; failed = 1 }
    exit failed
  }' | c++filt
