#!/usr/bin/env python3
"""Sums up ctest's JUnit files: what failed, what was skipped and why, the ten slowest tests, and as the
last line `N passed, N failed, N skipped`. The exit status is 1 when anything failed.

    summarize.py [--broken STEP]... RESULTS.xml...

A step that broke outside ctest, and a file that is missing, unreadable or empty, count as one failure each.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def skip_reason(case):
    """The line after gtest's "file:line: Skipped", or the text after "SKIP:" of a script."""
    output = case.findtext("system-out") or ""
    match = re.search(r"^SKIP: *(.+)$|: Skipped\n(.+)$", output, re.MULTILINE)
    return (match.group(1) or match.group(2)).strip() if match else "no reason was given"


def read_cases(path):
    """Yields (name, seconds, status, reason) of each test of one file."""
    preset = path.stem
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        status = {"run": "passed", "fail": "failed"}.get(case.get("status"), "skipped")
        reason = skip_reason(case) if case.get("status") == "notrun" else "disabled"
        yield f"{preset}: {case.get('name')}", float(case.get("time", 0)), status, reason


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broken", action="append", default=[], metavar="STEP")
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()

    cases = [(step, 0.0, "failed", "") for step in arguments.broken]
    for path in arguments.files:
        try:
            found = list(read_cases(path))
        except (OSError, ElementTree.ParseError) as error:
            found = []
            print(f"{path}: {error}")
        cases += found or [(f"{path.stem}: no results", 0.0, "failed", "")]

    failed = [name for name, _, status, _ in cases if status == "failed"]
    skipped = [(name, reason) for name, _, status, reason in cases if status == "skipped"]
    for name, reason in skipped:
        print(f"skipped  {name}: {reason}")
    for name in failed:
        print(f"FAILED   {name}")
    print("The ten slowest tests:")
    for name, seconds, _, _ in sorted(cases, key=lambda case: -case[1])[:10]:
        print(f"{seconds:8.2f} s  {name}")
    print(f"{len(cases) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
