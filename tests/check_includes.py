#!/usr/bin/env python3
"""Checks the direction of #includes between the rooms of the project.

    check_includes.py [ROOT]       names every include that points the wrong way, and fails
    check_includes.py --self-test  shows on made-up files that each rule can fail
"""

import re
import sys
import tempfile
from pathlib import Path

# What each room of lib/ may include directly; a room may also include whatever these may.
ROOMS = {
    "base": [],
    "tensor": ["base"],
    "jinja": ["base"],
    "tokenizer": ["jinja"],
    "format": ["tensor"],
    "backend": ["tensor"],
    "cache": ["tensor"],
    "model": ["format", "backend"],
    "sched": ["cache"],
    "engine": ["model", "sched", "tokenizer"],
    "capi": ["engine"],
}
SUFFIXES = {".h", ".hpp", ".c", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def reachable(room):
    rooms = {room}
    for below in ROOMS[room]:
        rooms |= reachable(below)
    return rooms


def broken_rule(path, quote, target, root):
    """The rule that this include breaks, or None. path is relative to root."""
    area, room = path.parts[0], target.split("/")[0]
    project = (root / "lib" / target).exists() or room in ROOMS
    if area == "lib":
        if path.parts[1] not in ROOMS:
            return f"lib/{path.parts[1]} is not a room; name it in tests/check_includes.py"
        if room in ROOMS and room not in reachable(path.parts[1]):
            return f"{path.parts[1]} may include only {', '.join(sorted(reachable(path.parts[1])))}"
        if room in ("examples", "tests", "bindings"):
            return "lib/ includes nothing of examples/, tests/ and bindings/"
    elif area == "cuda":
        if project or room == "kvinfer":
            return "cuda/ includes nothing of lib/ and include/"
    elif area == "include":
        is_part = path.suffix == ".hpp" and quote == "<" and room == "kvinfer"
        if not is_part and (quote == '"' or "/" in target or target.endswith(".hpp")):
            return "public headers include only standard headers, those of C++ each other too"
    elif area in ("examples", "bindings"):
        if project:
            return "programs include only <kvinfer/...> of the library"
        if quote == '"' and not (root / path.parent / target).exists():
            return "programs quote only files of their own folder"
    return None


def check(root):
    """Returns one line for each wrong include below root."""
    wrong = []
    for area in ("lib", "cuda", "include", "examples", "bindings"):
        for file in sorted((root / area).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            text = file.read_text(encoding="utf-8")
            for match in INCLUDE.finditer(text):
                rule = broken_rule(file.relative_to(root), match[1], match[2], root)
                if rule:
                    line = text.count("\n", 0, match.start(2)) + 1
                    wrong.append(f"{file.relative_to(root)}:{line}: includes {match[2]}: {rule}")
    return wrong


def self_test():
    good = {
        "lib/base/file.h": "<string>",
        "lib/capi/engine.cc": '"engine/engine.h"',
        "lib/engine/engine.h": '"base/file.h"',
        "lib/backend/cuda/seam.cc": '"cuda/gemv.h"',
        "lib/base/status.h": "<kvinfer/kvinfer.h>",
        "cuda/gemv.cu": '"gemv.h"',
        "include/kvinfer/kvinfer.hpp": "<kvinfer/engine.hpp>",
        "include/kvinfer/engine.hpp": "<kvinfer/kvinfer.h>",
        "examples/cli/main.cc": '"output.h"',
        "examples/cli/output.h": "<kvinfer/kvinfer.h>",
    }
    bad = {
        "lib/base/bad.h": '"tensor/dtype.h"',
        "lib/tokenizer/bad.cc": '"tensor/dtype.h"',
        "lib/cache/bad.cc": '"backend/backend.h"',
        "lib/sched/bad.cc": '"model/model.h"',
        "lib/model/bad.cc": '"cache/page_pool.h"',
        "lib/engine/bad.cc": '"capi/guard.h"',
        "lib/attic/bad.cc": "<string>",
        "cuda/bad.cu": '"base/file.h"',
        "include/kvinfer/bad.h": '"base/file.h"',
        "include/kvinfer/worse.h": "<kvinfer/engine.hpp>",
        "include/kvinfer/bad.hpp": '"engine.hpp"',
        "examples/cli/bad.cc": '"engine/engine.h"',
        "examples/server/bad.cc": '"../cli/output.h.in"',
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, target in (good | bad).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"#pragma once\n#include {target}\n", encoding="utf-8")
        found = {line.split(":")[0] for line in check(root)}
    assert found == set(bad), f"not caught: {set(bad) - found}; wrongly named: {found - set(bad)}"
    print(f"{len(bad)} wrong includes are caught, {len(good)} right ones pass")


def main():
    if "--self-test" in sys.argv:
        self_test()
        return 0
    wrong = check(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve())
    print("\n".join(wrong) or "every include points the right way")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
