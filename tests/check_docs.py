#!/usr/bin/env python3
"""Checks what the documents say against the tree: files and tests that they name exist, links lead
somewhere, and ARCHITECTURE.md stays within 150 lines. Usage: check_docs.py [ROOT]
"""

import re
import sys
from pathlib import Path

DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md"]
FOLDERS = ("lib/", "tests/", "examples/", "include/", "cmake/", "pkgconfig/", "docs/", "cuda/", "bindings/")
GTEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST)\(\s*(\w+),\s*(\w+)\)", re.MULTILINE)


def tests_of(root):
    names = set()
    for file in (root / "tests").rglob("*.cc"):
        names |= {f"{suite}.{test}" for suite, test in GTEST.findall(file.read_text(encoding="utf-8"))}
    return names


def check(root):
    wrong = []
    tests = tests_of(root)
    suites = {name.split(".")[0] for name in tests}
    for document in sorted(file for pattern in DOCUMENTS for file in root.glob(pattern)):
        text = document.read_text(encoding="utf-8")
        name = document.relative_to(root)
        for quoted in re.findall(r"`([^`\n]+)`", text):
            path = quoted.split(" ")[0]
            if path.startswith(FOLDERS) and not re.search(r"[<*{]", path) and not (root / path).exists():
                wrong.append(f"{name}: there is no {path}")
            if re.fullmatch(r"[A-Z]\w+Test(\.\w+)?", quoted) and quoted not in tests | suites:
                wrong.append(f"{name}: there is no test {quoted}")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (document.parent / link).exists():
                wrong.append(f"{name}: the link to {link} leads nowhere")
    lines = len((root / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines())
    if lines > 150:
        wrong.append(f"ARCHITECTURE.md has {lines} lines; 150 are its limit")
    return wrong


def main():
    wrong = check(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve())
    print("\n".join(wrong) or "the documents name what is there")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
