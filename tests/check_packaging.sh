#!/usr/bin/env bash
# Installs into a prefix, moves the prefix, and builds and runs the README's two programs against it: the
# C one (C11) through pkg-config, the C++ one (C++17) through find_package. Builds examples/c and
# examples/cpp against it too, and runs those about the cache (restart twice: the second run finds the first one's pages), and
# the program that the blocks of docs/using-the-cache.md make.
# Usage: check_packaging.sh BUILD_DIR SOURCE_DIR
set -euo pipefail
build=$1 source=$2
model=${KVINFER_CACHE:-~/.cache/kvinfer}/SmolLM2-135M-Instruct.Q4_1.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" > /dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
if grep -rl -e "$work/first" -e "$source" "$prefix"; then
  echo "the files above remember a path of the build or of the first prefix"
  exit 1
fi
for file in include/kvinfer/{kvinfer.h,kvinfer.hpp,cache.hpp,engine.hpp,errors.hpp} bin/kvinfer share/man/man1/kvinfer.1 \
  share/doc/kvinfer/{README.md,docs/using-the-cache.md,docs/cache.md,examples/c/restart.c}; do
  [[ -s $prefix/$file ]] || { echo "$file is not installed"; exit 1; }
done

example() {  # language: prints the first block of it in the README
  awk -v fence="^\`\`\`$1\$" '$0 ~ fence { inside = 1; next } inside && /^```$/ { exit } inside' "$source/README.md"
}

pc=$(find "$prefix" -name kvinfer.pc)
export PKG_CONFIG_PATH=${pc%/*}
example c > "$work/first_text.c"
read -ra flags <<< "$(pkg-config --cflags --libs kvinfer)"
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/first_text.c" -o "$work/first_text" "${flags[@]}"
echo "the C program builds through pkg-config"
mkdir "$work/examples"
for example in "$source"/examples/c/*.c; do
  program=$work/examples/$(basename "$example" .c)
  "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror "$example" -o "$program" "${flags[@]}"
done
for example in "$source"/examples/cpp/*.cpp; do
  program=$work/examples/$(basename "$example" .cpp)
  "${CXX:-c++}" -std=c++17 -Wall -Wextra -Wpedantic -Werror "$example" -o "$program" "${flags[@]}"
done
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/docs/using-the-cache.md" > "$work/guide.c"
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/guide.c" -o "$work/guide" "${flags[@]}"
echo "the programs in examples/c and examples/cpp, and that of docs/using-the-cache.md, build"

mkdir "$work/chat"
cp "$source/tests/packaging/CMakeLists.txt" "$work/chat"
example cpp > "$work/chat/chat.cpp"
cmake -S "$work/chat" -B "$work/chat/build" -G Ninja "-DCMAKE_PREFIX_PATH=$prefix" > /dev/null
cmake --build "$work/chat/build" > /dev/null
echo "the C++ program builds through find_package"

export LD_LIBRARY_PATH=${pc%/pkgconfig/*}
env -u LD_LIBRARY_PATH "$prefix/bin/kvinfer" --version
if [[ ! -f $model ]]; then
  echo "SKIP: the programs were built, but not run, without $model (tests/fetch_models.sh smollm2)"
  exit 77
fi
for program in "$work/first_text" "$work/chat/build/chat" "$work"/examples/{shared_prefix,pause_resume}; do
  text=$("$program" "$model")
  echo "${program##*/}: ${text:0:200}"
  [[ -n $text ]] || { echo "${program##*/} wrote nothing"; exit 1; }
done
text=$("$work/guide" "$model" "$work/guide_cache")
echo "guide: ${text:0:200}"
[[ $text == *"went back to the system" ]] || { echo "docs/using-the-cache.md did not run to its end"; exit 1; }
for run in first second; do
  text=$("$work/examples/restart" "$model" "$work/restart")
  echo "restart, $run run: $text"
done
[[ $text =~ [1-9][0-9]*" of them on the disk" ]] || { echo "restart found nothing on the disk"; exit 1; }
