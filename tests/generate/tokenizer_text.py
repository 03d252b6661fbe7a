#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer_text.txt: more than 10,000 lines of real text, one sample a line.

  - every ninth verse of the King James Bible (public domain; Debian's bible-kjv);
  - stretches of Django's Python, JavaScript, CSS and HTML (BSD-3-Clause);
  - Django's translations into some ninety languages (BSD-3-Clause).

Usage: pip download --no-deps Django==5.2 && python3 tests/generate/tokenizer_text.py Django-*.whl
"""

import ast
import pathlib
import subprocess
import sys
import zipfile

MAX_LINE_BYTES = 400


def bible():
    text = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True).stdout
    return [line.split(" ", 1)[1] for line in text.splitlines()][::9]


def source(wheel):
    files = [n for n in sorted(wheel.namelist())
             if n.endswith((".py", ".js", ".css", ".html")) and ".min." not in n]
    lines = []
    for name in files:
        code = wheel.read(name).decode().split("\n")
        start = len(code) // 3
        if len(code) >= 90:
            lines += code[start:start + 16]
    return lines[:4600]


def translations(wheel):
    lines = []
    for name in sorted(wheel.namelist()):
        if name.startswith("django/conf/locale/") and name.endswith("/django.po"):
            found = [ast.literal_eval(line.split(" ", 1)[1])
                     for line in wheel.read(name).decode().split("\n")
                     if line.startswith("msgstr \"") and len(line) > 30]
            lines += [line for message in found[:60] for line in message.split("\n") if line]
    return lines


def main():
    wheel = zipfile.ZipFile(sys.argv[1])
    parts = [bible(), source(wheel), translations(wheel)]
    lines = [line.rstrip("\r") for part in parts for line in part]
    lines = [line for line in lines if len(line.encode()) <= MAX_LINE_BYTES and "\r" not in line]
    path = pathlib.Path(__file__).parent.parent / "goldens" / "tokenizer_text.txt"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    print([len(part) for part in parts], len(lines), path.stat().st_size)


main()
