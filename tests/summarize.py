#!/usr/bin/env python3
"""Sums up ctest's JUnit files: what failed, what was skipped and why, the ten slowest tests, and as the
last line `N passed, N failed, N skipped`. The exit status is 1 when anything failed.

    summarize.py [--broken STEP]... RESULTS.xml...
    summarize.py --self-test

A step that broke outside ctest, and a file that is missing, unreadable or empty, count as one failure each.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def status_of(case):
    """The status of one test, and why where it is not passed."""
    ended = case.get("status")
    if ended == "run":
        return "passed", ""
    if ended == "disabled":
        return "skipped", "disabled"
    said = case.find("skipped")
    why = said.get("message") if said is not None else ""
    if ended != "notrun" or not why.startswith("SKIP_"):
        return "failed", why
    # A script's "SKIP: reason", or the line after gtest's "file:line: Skipped".
    reason = re.search(r"^SKIP: *(.+)$|: Skipped\n(.+)$", case.findtext("system-out") or "", re.MULTILINE)
    return "skipped", (reason[1] or reason[2]).strip() if reason else "no reason was given"


def read_cases(preset, text):
    """Yields (name, seconds, status, why) of each test in the text of one file."""
    for case in ElementTree.fromstring(text).iter("testcase"):
        yield f"{preset}: {case.get('name')}", float(case.get("time", 0)), *status_of(case)


def self_test():
    text = """<testsuite>
      <testcase name="a" time="1" status="run"/>
      <testcase name="b" time="0" status="fail"><failure message=""/></testcase>
      <testcase name="c" time="0" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
        <system-out>SKIP: no model</system-out></testcase>
      <testcase name="d" time="0" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
        <system-out>x.cc:1: Skipped\nno AMX\n</system-out></testcase>
      <testcase name="e" time="0" status="notrun"><skipped message="Unable to find executable"/></testcase>
      <testcase name="f" time="0" status="disabled"/>
    </testsuite>"""
    found = [(name[-1], status, why) for name, _, status, why in read_cases("release", text)]
    assert found == [
        ("a", "passed", ""),
        ("b", "failed", ""),
        ("c", "skipped", "no model"),
        ("d", "skipped", "no AMX"),
        ("e", "failed", "Unable to find executable"),
        ("f", "skipped", "disabled"),
    ], found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broken", action="append", default=[], metavar="STEP")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test()
        return 0

    cases = [(step, 0.0, "failed", "") for step in arguments.broken]
    for path in arguments.files:
        try:
            found = list(read_cases(path.stem, path.read_text(encoding="utf-8", errors="replace")))
        except (OSError, ElementTree.ParseError) as error:
            found = []
            print(f"{path}: {error}")
        cases += found or [(f"{path.stem}: no results", 0.0, "failed", "")]

    failed = [(name, why) for name, _, status, why in cases if status == "failed"]
    skipped = [(name, why) for name, _, status, why in cases if status == "skipped"]
    for name, why in skipped:
        print(f"skipped  {name}: {why}")
    for name, why in failed:
        print(f"FAILED   {name} {why}".rstrip())
    print("The ten slowest tests:")
    for name, seconds, _, _ in sorted(cases, key=lambda case: -case[1])[:10]:
        print(f"{seconds:8.2f} s  {name}")
    print(f"{len(cases) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
