#!/usr/bin/env python3
"""Writes GGUF files with random weights in the shape of Qwen2.5-1.5B, for speed measurements only.

usage: random_weights_gguf.py [qwen2|llama]...    (default: both; files that are there are kept)

The files land in $KVINFER_CACHE as random-1.5b-<family>.Q4_K.gguf: all matrices Q4_K but the embedding, Q6_K,
which also serves as the head, as in llama.cpp's Q4_K_M files. Blocks are valid, never zero, and differ from each
other, so that neither caches nor early exits flatter. The text is noise; the vocabulary holds the 256 bytes and
placeholders. Needs tests/generate/requirements.txt (gguf, numpy).
"""

import os
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "generate"))
from random_blocks import random_blocks

CACHE = pathlib.Path(os.environ.get("KVINFER_CACHE", pathlib.Path.home() / ".cache/kvinfer"))
LAYERS, HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 28, 1536, 8960, 12, 2, 128, 151936


def byte_alphabet():
    """GPT-2's: each byte as one printable character."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in kept]
    return [chr(b) if b in kept else chr(256 + others.index(b)) for b in range(256)]


def add_metadata(writer, family):
    writer.add_name(f"random 1.5B {family}")
    writer.add_context_length(32768)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1000000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_vocab_size(VOCAB)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = byte_alphabet() + ["<|endoftext|>", "\u0120t"]
    tokens += [f"<unused{i}>" for i in range(VOCAB - len(tokens))]
    kinds = [gguf.TokenType.NORMAL] * VOCAB
    kinds[256] = gguf.TokenType.CONTROL
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["\u0120 t"])  # readers insist on some
    writer.add_eos_token_id(256)
    writer.add_add_bos_token(False)


def shapes(family):
    """(name, rows, cols); rows 0 for a vector."""
    kv = KV_HEADS * HEAD_DIM
    yield "token_embd.weight", VOCAB, HIDDEN
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", 0, HIDDEN
        yield block + "attn_q.weight", HIDDEN, HIDDEN
        yield block + "attn_k.weight", kv, HIDDEN
        yield block + "attn_v.weight", kv, HIDDEN
        if family == "qwen2":
            yield block + "attn_q.bias", 0, HIDDEN
            yield block + "attn_k.bias", 0, kv
            yield block + "attn_v.bias", 0, kv
        yield block + "attn_output.weight", HIDDEN, HIDDEN
        yield block + "ffn_norm.weight", 0, HIDDEN
        yield block + "ffn_gate.weight", FFN, HIDDEN
        yield block + "ffn_up.weight", FFN, HIDDEN
        yield block + "ffn_down.weight", HIDDEN, FFN
    yield "output_norm.weight", 0, HIDDEN


def write(family):
    target = CACHE / f"random-1.5b-{family}.Q4_K.gguf"
    if target.exists():
        print(f"{target} is there")
        return
    rng = np.random.default_rng(15)
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(part, family, use_temp_file=True)
    add_metadata(writer, family)
    for name, rows, cols in shapes(family):
        if rows == 0:
            around = 0 if name.endswith("bias") else 1
            writer.add_tensor(name, (around + 0.1 * rng.standard_normal(cols)).astype(np.float32))
            continue
        dtype, std = (T.Q6_K, 0.05) if name == "token_embd.weight" else (T.Q4_K, 1 / np.sqrt(cols))
        writer.add_tensor(name, random_blocks(rng, rows, cols, dtype, std), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
    print(f"wrote {target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ("qwen2", "llama"):
        write(chosen)
