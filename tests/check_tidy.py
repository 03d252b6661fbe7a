#!/usr/bin/env python3
"""Runs clang-tidy (see .clang-tidy) over every source file of lib/ and examples/ that a build compiles.

    check_tidy.py BUILD_DIR [NAME]...    only files whose path contains one of the names

A file that was clean is not checked again until it, a header of ours that it includes, its flags or
the configuration change: its digest is remembered in ${KVINFER_CACHE:-~/.cache/kvinfer}/tidy.
Exits with 77 where clang-tidy is not installed, as tests that are skipped do.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLEAN = Path(os.environ.get("KVINFER_CACHE") or Path.home() / ".cache/kvinfer") / "tidy"
CONFIGURATIONS = [".clang-tidy", "examples/cli/.clang-tidy"]
NOT_CLANGS = {"-fno-gnu-unique"}  # options of g++ that clang refuses


def arguments_of(entry):
    """The compiler's command line without a launcher and without what clang refuses."""
    words = shlex.split(entry["command"])
    if Path(words[0]).name == "ccache":
        words = words[1:]
    return [word for word in words if word not in NOT_CLANGS]


def digest_of(entry, seed):
    """Digest of all that the result depends on: the flags, the file, and our headers that it includes."""
    words = arguments_of(entry)
    at = words.index("-o")
    listed = subprocess.run(
        words[:at] + words[at + 2 :] + ["-MM", "-MT", "x"],
        cwd=entry["directory"], capture_output=True, text=True, check=True,
    ).stdout
    digest = hashlib.sha256(seed + "\0".join(words).encode())
    for name in listed.replace("\\\n", " ").split()[1:]:
        digest.update(Path(entry["directory"], name).read_bytes())
    return digest.hexdigest()


def check(entry, seed, database):
    """Checks one file; returns what clang-tidy says, or None where the file is known to be clean."""
    marker = CLEAN / digest_of(entry, seed)
    if marker.exists():
        return None
    done = subprocess.run(
        ["clang-tidy", "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p", database, entry["file"]],
        capture_output=True, text=True, check=False,
    )
    if done.returncode == 0:
        marker.touch()
        return ""
    return done.stdout + ("" if done.stdout else done.stderr)


def main():
    build, names = Path(sys.argv[1]), sys.argv[2:]
    if not shutil.which("clang-tidy"):
        print("SKIP: clang-tidy is not installed (tests/setup.sh test)")
        return 77
    entries = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = str(Path(entry["file"]).relative_to(ROOT))
        if path.startswith(("lib/", "examples/")) and (not names or any(n in path for n in names)):
            entries.append(entry)

    CLEAN.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    seed = version + b"".join((ROOT / name).read_bytes() for name in CONFIGURATIONS)
    with tempfile.TemporaryDirectory() as database:
        for entry in entries:
            entry["command"] = shlex.join(arguments_of(entry))
        Path(database, "compile_commands.json").write_text(json.dumps(entries))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            results = list(pool.map(lambda entry: check(entry, seed, database), entries))

    # A finding in a header is reported by every file that includes it: say it once.
    print("\n".join(dict.fromkeys(line for said in results if said for line in said.splitlines())))
    known, failed = results.count(None), sum(1 for said in results if said)
    print(f"{len(entries)} files: {known} unchanged and clean, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
