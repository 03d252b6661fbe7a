#!/usr/bin/env python3
"""Compares `kvinfer tokenize` with the reference tokenizers over any files, line by line.

  compare_tokenizer.py smollm2 FILE...      every line of the files (those that are UTF-8)
  compare_tokenizer.py gemma3 --sample 17   a sample of the goldens, as a failed test names it

References: smollm2, smollm2_special, gemma3, gemma3_special (see tokenizer_goldens.py).
Usage: python3 tests/generate/compare_tokenizer.py ... [--kvinfer build/release/bin/kvinfer]
"""

import argparse
import json
import os
import subprocess
import sys

from tokenizer_goldens import references
from tokenizer_samples import samples

FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}


def tokenize(args, text, *flags):
    folder = os.environ.get("KVINFER_CACHE", os.path.expanduser("~/.cache/kvinfer"))
    command = [args.kvinfer, "tokenize", "-m", os.path.join(folder, FILES[args.reference.split("_")[0]]),
               "--json", *flags]
    if args.reference.endswith("_special"):
        command.append("--special")
    out = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line)["tokens"] for line in out.decode().splitlines()]


def lines_of(path):
    try:
        with open(path, "rb") as f:
            return [line for line in f.read().decode().split("\n") if line]
    except (OSError, UnicodeDecodeError):
        return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--kvinfer", default="build/release/bin/kvinfer")
    args = parser.parse_intermixed_args()
    encode = next(encode for name, encode in references() if name == args.reference)

    if args.sample is not None:
        texts = [samples()[args.sample]]
        answers = tokenize(args, texts[0])
    else:
        texts = [line for path in args.files for line in lines_of(path)]
        answers = tokenize(args, "\n".join(texts) + "\n", "--lines")
    assert len(answers) == len(texts), (len(answers), len(texts))
    triples = ((t, ours, encode(t)) for t, ours in zip(texts, answers))
    wrong = [triple for triple in triples if triple[1] != triple[2]]
    for text, ours, expected in wrong[:10]:
        print(f"{text!r}\n  kvinfer   {ours}\n  reference {expected}")
    print(f"{len(texts)} texts, {len(wrong)} differ")
    sys.exit(bool(wrong))


main()
