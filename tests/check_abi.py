#!/usr/bin/env python3
"""Compares the C ABI with the committed baseline, pkgconfig/kvinfer.abi, through libabigail.

    check_abi.py LIBRARY      compares; and the library exports just what kvinfer.h declares
    check_abi.py --renew      writes the baseline anew; CHANGELOG.md says what changed and why
    check_abi.py --self-test  shows on a made-up header what passes and what does not

The ABI may grow: new functions, new constants, and new members past the end of structs that begin with
struct_size. All else fails, changed values of constants too.

What abidw describes is a library of empty functions made from the header: it has the header's types and
nothing of C++, and needs no build with debug information. The real library cannot differ from it, since
its sources include the header.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = ROOT / "include/kvinfer/kvinfer.h"
BASELINE = ROOT / "pkgconfig/kvinfer.abi"
CC = os.environ.get("CC", "cc")
EXPORTED = '__attribute__((visibility("default")))'
STRUCT = re.compile(r"'struct (\w+)' changed:")
OLD_SIZE = re.compile(r"  type size changed from (\d+) to \d+ \(in bits\)$")
INSERTED = re.compile(r"    '.*', at offset (\d+) \(in bits\)$")
SAYS_LITTLE = re.compile(r"$|.* summary: |  \d+ data member insertions?:$")


def output_of(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout


def describe(header, folder):
    """Builds libkvinfer.so of empty functions in folder; returns what abidw says of it."""
    text = output_of(CC, "-std=c11", "-E", "-P", "-x", "c", str(header))
    statements = " ".join(text.split()).split(";")
    source = ";\n".join(
        statement + "{ __builtin_trap(); }" if EXPORTED in statement else statement
        for statement in statements
    )
    (folder / "kvinfer.c").write_text(source)
    output_of(CC, "-std=c11", "-g", "-fno-eliminate-unused-debug-types", "-fvisibility=hidden", "-fPIC",
              "-shared", f"-fdebug-prefix-map={folder}=.", "-o", "libkvinfer.so", "kvinfer.c", cwd=folder)
    return output_of("abidw", "--load-all-types", "--no-corpus-path", "--no-comp-dir-path",
                     "--no-show-locs", "libkvinfer.so", cwd=folder)


def functions_of(library):
    symbols = output_of("nm", "-D", "--defined-only", str(library))
    return {match[1] for match in re.finditer(r" T (\w+)", symbols)}


def constants_of(abi):
    return dict(re.findall(r"<enumerator name='(\w+)' value='(-?\d+)'", abi))


def structs_that_state_their_size(abi):
    first = r"<class-decl name='(\w+)'[^>]*>\s*<data-member[^>]*layout-offset-in-bits='0'[^>]*>\s*<var-decl name='struct_size'"
    return set(re.findall(first, abi))


def more_than_growth(report, growable):
    """The lines of an abidiff report on leaf changes that are no growth at the end of a struct."""
    wrong, struct, old_size = [], "", None
    for line in report.splitlines():
        if match := STRUCT.match(line):
            struct, old_size = match[1], None
            if struct not in growable:
                wrong.append(line)
        elif match := OLD_SIZE.match(line):
            old_size = int(match[1])
        elif match := INSERTED.match(line):
            if old_size is None or int(match[1]) < old_size:
                wrong.append(f"struct {struct}: {line.strip()}")
        elif not SAYS_LITTLE.match(line):
            wrong.append(f"struct {struct}: {line.strip()}" if struct else line)
    return wrong


def compare(old, new, folder):
    """The changes from one ABI (as abidw writes it) to another that are no growth."""
    (folder / "old.abi").write_text(old)
    (folder / "new.abi").write_text(new)
    done = subprocess.run(
        ["abidiff", "--leaf-changes-only", "--no-added-syms", "old.abi", "new.abi"],
        stdout=subprocess.PIPE, text=True, cwd=folder, check=False,
    )
    if done.returncode & 3:
        raise RuntimeError(f"abidiff failed with {done.returncode}: {done.stdout}")
    wrong = more_than_growth(done.stdout, structs_that_state_their_size(old))
    if done.returncode & 8 and not wrong:
        wrong.append(done.stdout)
    now = constants_of(new)
    for name, value in constants_of(old).items():
        if now.get(name) != value:
            wrong.append(f"{name} was {value} and is {now.get(name, 'gone')}")
    return wrong


def self_test():
    header = """
      #include <stdint.h>
      #define API __attribute__((visibility("default")))
      enum { KVI_A = 0, KVI_B = 1 };
      typedef void (*kvi_fn)(void *user, int32_t level);
      typedef struct kvi_opts { uint32_t struct_size; uint32_t a; float b; kvi_fn fn; uint32_t c; } kvi_opts;
      typedef struct kvi_pair { uint32_t a; float b; } kvi_pair;
      typedef struct kvi_thing kvi_thing;
      API int32_t kvi_open(const kvi_opts *opts, const kvi_pair *pair, kvi_thing **out);
      API void kvi_release(kvi_thing *thing);
    """
    growth = [
        ("API void", "API int kvi_more(void); API void"),
        ("KVI_B = 1", "KVI_B = 1, KVI_C = 2"),
        ("uint32_t c; }", "uint32_t c; uint64_t d; uint32_t e; }"),
    ]
    breaks = [
        ("API void kvi_release(kvi_thing *thing);", ""),
        ("KVI_B = 1", "KVI_B = 2"),
        (", KVI_B = 1", ""),
        ("uint32_t a; float b; kvi_fn", "float b; uint32_t a; kvi_fn"),
        ("uint32_t a; float b; kvi_fn", "uint32_t a; int32_t b; kvi_fn"),
        ("kvi_fn fn; uint32_t c;", "kvi_fn fn;"),
        ("float b; kvi_fn", "float b; uint32_t padding; kvi_fn"),
        ("uint32_t c; }", "uint32_t c; uint32_t in_the_old_padding; }"),
        ("uint32_t a; float b; } kvi_pair", "uint32_t a; float b; uint64_t c; } kvi_pair"),
        ("int32_t level", "int64_t level"),
        ("int32_t kvi_open", "int64_t kvi_open"),
        ("kvi_thing **out)", "kvi_thing **out, int flag)"),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def abi_of(text):
            (folder / "header.h").write_text(text)
            return describe(folder / "header.h", folder)

        old = abi_of(header)
        for before, after in growth + breaks:
            assert before in header
            wrong = compare(old, abi_of(header.replace(before, after)), folder)
            assert bool(wrong) == ((before, after) in breaks), f"{before} -> {after}: {wrong}"
    print(f"{len(growth)} kinds of growth pass, {len(breaks)} kinds of change are caught")


def main():
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        now = describe(HEADER, folder)
        if sys.argv[1] == "--renew":
            BASELINE.write_text(now)
            print(f"{BASELINE} is written anew; name the change in CHANGELOG.md")
            return 0
        declared, exported = functions_of(folder / "libkvinfer.so"), functions_of(sys.argv[1])
        for function in sorted(declared ^ exported):
            print(f"{function} is {'not exported' if function in declared else 'not declared'}")
        if not BASELINE.exists():
            print("SKIP: there is no baseline yet; tests/check_abi.py --renew writes it")
            return 1 if declared != exported else 77
        wrong = compare(BASELINE.read_text(), now, folder)
    print("\n".join(wrong) or "the ABI is the baseline's, or has grown")
    if wrong:
        print("While the SONAME is 0 the ABI may change where it is meant: tests/check_abi.py --renew,")
        print("and name the change in CHANGELOG.md.")
    return 1 if wrong or declared != exported else 0


if __name__ == "__main__":
    sys.exit(main())
