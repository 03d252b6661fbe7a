#!/usr/bin/env python3
"""Writes tests/goldens/{smollm2,gemma3}.forward.bin: what transformers computes in fp32 for real prompts.

usage: reference_goldens.py [smollm2|gemma3]...    (default: both; models from $KVINFER_CACHE)

Each prompt is continued greedily by 64 tokens (past an end-of-text token, if one comes), and the
log-probabilities of these 64 positions are taken from one forward pass over prompt and continuation.
The file's format is described in tests/goldens/README.md.
"""

import hashlib
import os
import pathlib
import struct
import sys

import numpy as np
import torch
from transformers import AutoTokenizer

import prompts
import reference_models

NUM_CONTINUED = 64
TOP_K = 64
CACHE = pathlib.Path(os.environ.get("KVINFER_CACHE", pathlib.Path.home() / ".cache/kvinfer"))
GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", prompts.smollm2_prompts, False),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", prompts.gemma3_prompts, True),
}


def continue_greedily(model, tokens):
    tokens = list(tokens)
    step = model(input_ids=torch.tensor([tokens]), use_cache=True, logits_to_keep=1)
    continuation = []
    while True:
        continuation.append(int(step.logits[0, -1].argmax()))
        if len(continuation) == NUM_CONTINUED:
            return continuation
        step = model(input_ids=torch.tensor([continuation[-1:]]), past_key_values=step.past_key_values,
                     use_cache=True)


def log_probabilities(model, tokens, num_last):
    """Of the last num_last positions' successors: [num_last, vocab_size] in float64."""
    logits = model(input_ids=torch.tensor([tokens]), use_cache=False, logits_to_keep=num_last).logits[0]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


def write_prompt(out, name, prompt, continuation, logprobs):
    encoded = name.encode()
    out.write(struct.pack("<I", len(encoded)) + encoded)
    out.write(struct.pack("<I", len(prompt)) + np.asarray(prompt, "<i4").tobytes())
    out.write(np.asarray(continuation, "<i4").tobytes())
    for row in logprobs:
        ids = np.argsort(-row, kind="stable")[:TOP_K]
        rest = np.ones(row.size, bool)
        rest[ids] = False
        out.write(ids.astype("<i4").tobytes())
        out.write(row[ids].astype("<f4").tobytes())
        out.write(struct.pack("<f", np.exp(row[rest]).sum()))


def generate(family):
    file_name, get_prompts, add_bos = MODELS[family]
    path = CACHE / file_name
    model, source = reference_models.from_gguf(path)
    tokenizer = AutoTokenizer.from_pretrained(CACHE, gguf_file=file_name)
    texts = get_prompts()
    gaps = []
    target = GOLDENS / f"{family}.forward.bin"
    with open(target, "wb") as out:
        out.write(b"KVIFWD1\0")
        out.write(struct.pack("<IIII", len(texts), NUM_CONTINUED, TOP_K, model.config.vocab_size))
        out.write(hashlib.sha256(path.read_bytes()).digest())
        for name, text in texts:
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(prompt) == text, name
            if add_bos:
                prompt = [source.fields["tokenizer.ggml.bos_token_id"]] + prompt
            continuation = continue_greedily(model, prompt)
            tokens = prompt + continuation
            logprobs = log_probabilities(model, tokens[:-1], len(tokens) - 1)
            of_prompt = logprobs[np.arange(len(prompt) - 1), prompt[1:]]
            logprobs = logprobs[-NUM_CONTINUED:]
            assert (logprobs.argmax(-1) == continuation).mean() > 0.96, name  # ties with the cached pass
            write_prompt(out, name, prompt, continuation, logprobs)
            best = np.sort(logprobs, axis=-1)[:, -2:]
            gaps.extend(best[:, 1] - best[:, 0])
            print(f"{name}: {len(prompt)} tokens, perplexity of the prompt {np.exp(-of_prompt.mean()):.1f}: "
                  f"{tokenizer.decode(continuation)!r}", flush=True)
    gaps = np.asarray(gaps)
    print(f"{target}: {target.stat().st_size} bytes; {gaps.size} positions, top-2 gap < 0.02: "
          f"{(gaps < 0.02).mean():.2%}, < 0.25: {(gaps < 0.25).mean():.2%}")


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.inference_mode():
        for chosen in sys.argv[1:] or MODELS:
            generate(chosen)
