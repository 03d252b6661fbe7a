#!/usr/bin/env bash
# Installs the Debian packages that are missing: `tests/setup.sh build` for building and running,
# `tests/setup.sh test` for the tests and checks as well, `tests/setup.sh fuzz` for tests/fuzz. Does
# nothing, and needs no network and no rights, where all are there.
set -euo pipefail

packages=(g++ cmake ninja-build ccache pkg-config python3 python3-pip ca-certificates
  libcli11-dev libgtest-dev libpcre2-dev libxxhash-dev nlohmann-json3-dev)
case "${1:-}" in
  build) ;;
  test) packages+=(git binutils clang-format clang-tidy abigail-tools shellcheck libbenchmark-dev) ;;
  fuzz) packages+=(clang libclang-rt-14-dev llvm) ;;
  *) echo "usage: tests/setup.sh build|test|fuzz" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null; then
  echo "This is not a Debian system; the following must be there already: ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "All ${#packages[@]} Debian packages needed are installed."
  exit 0
fi

as_root=(env DEBIAN_FRONTEND=noninteractive)
if ((EUID != 0)); then
  if ! command -v sudo > /dev/null; then
    echo "Not root, and there is no sudo: install these as root first: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo "${as_root[@]}")
fi
echo "Installing with apt: ${missing[*]}"
"${as_root[@]}" apt-get -q update
"${as_root[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}"
