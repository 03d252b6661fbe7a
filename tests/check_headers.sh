#!/usr/bin/env bash
# Each public header compiles alone: kvinfer.h as C11 and C++11, kvinfer.hpp and its parts as C++17, with and
# without exceptions. Usage: check_headers.sh SOURCE_DIR
set -euo pipefail
include=$1/include

compile() {  # language standard header flags...
  echo "#include <kvinfer/$3>" |
    "${@:4}" -x "$1" "-std=$2" -Wall -Wextra -Wpedantic -Werror -I "$include" -fsyntax-only -
  echo "$3 compiles as $2 ${*:5}"
}

compile c c11 kvinfer.h "${CC:-cc}"
compile c++ c++11 kvinfer.h "${CXX:-c++}"
for header in "$include"/kvinfer/*.hpp; do
  compile c++ c++17 "${header##*/}" "${CXX:-c++}"
  compile c++ c++17 "${header##*/}" "${CXX:-c++}" -fno-exceptions
done
