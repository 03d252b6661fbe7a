#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer_*: how independent tokenizers encode the texts of tokenizer_samples.py.

The references are HF's `tokenizers` for byte-level BPE and for tokenizer.json, and Google's
`sentencepiece` for SentencePiece BPE, both built from the vocabularies of the two real models
(tests/fetch_models.sh), and two small tokenizer.json trained here on the same text.

tokenizer_<name>.bin: SHA-256 of all samples (each followed by a zero byte), SHA-256 of all ids (int32
little-endian, each sample followed by -1), then 16 bits a sample: FNV-1a of its ids, folded. So a
difference names its sample, and none goes unseen.

Usage: python3 tests/generate/tokenizer_goldens.py   (needs requirements.txt)
"""

import hashlib
import json
import os
import pathlib
import re
import struct

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

from tokenizer_samples import GOLDENS, samples

GPT2 = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # GGUF's and SentencePiece's


class GgufVocabulary:
    def __init__(self, file_name):
        folder = os.environ.get("KVINFER_CACHE", os.path.expanduser("~/.cache/kvinfer"))
        fields = gguf.GGUFReader(pathlib.Path(folder) / file_name).fields

        def field(name):
            return fields[f"tokenizer.ggml.{name}"].contents() if f"tokenizer.ggml.{name}" in fields else None
        self.tokens, self.kinds = field("tokens"), field("token_type")
        self.scores, self.merges = field("scores"), field("merges")

    def of_kind(self, kind):
        return [t for t, k in zip(self.tokens, self.kinds) if k == kind]


def split_by(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(vocabulary, pre_tokenizer, normalizer=None, special=False, ignore_merges=False):
    merges = [tuple(m.split(" ")) for m in vocabulary.merges]
    ids = {t: i for i, t in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    if special:
        tokenizer.add_tokens([AddedToken(t, special=True, normalized=False)
                              for t in vocabulary.of_kind(CONTROL)])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def sentence_pieces(vocabulary, add_dummy_prefix=False, special=False):
    model = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(vocabulary.tokens, vocabulary.scores, vocabulary.kinds):
        if token == "<unk>":
            kind = UNKNOWN
        model.pieces.add(piece=token.replace(" ", "\u2581"), score=score, type=kind)
    trainer = model.trainer_spec
    trainer.model_type, trainer.byte_fallback, trainer.unk_piece = 2, True, "<unk>"
    trainer.unk_id = vocabulary.tokens.index("<unk>")
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix = "identity", add_dummy_prefix
    normalizer.remove_extra_whitespaces, normalizer.escape_whitespaces = False, True
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    if not special:
        return processor.encode
    control = sorted(vocabulary.of_kind(CONTROL), key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, control)) + ")")

    def encode(text):
        ids = []
        for i, part in enumerate(pattern.split(text)):
            ids += [vocabulary.tokens.index(part)] if i % 2 else processor.encode(part)
        return ids
    return encode


def train_bytes(texts):
    """A tokenizer.json whose regex has no scanner, with added tokens of both kinds."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        split_by(r"\p{N}{1,3}"), split_by(r"[\p{L}\p{M}]+|[^\p{L}\p{M}\s]+|\s+(?!\S)|\s+"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1500, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]))
    tokenizer.add_tokens(["<table>", "</td>"])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])])
    return tokenizer


def train_pieces(texts):
    """A tokenizer.json in Llama's style: U+2581, byte fallback, a space before the text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    words = [" " + word for text in texts for word in text.split(" ") if word]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=1800, show_progress=False, limit_alphabet=300,
        special_tokens=["<unk>", "<bos>", "<eos>"] + [f"<0x{b:02X}>" for b in range(256)]))
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]  # bytes are not added tokens
    document["model"]["merges"] = [" ".join(m) for m in document["model"]["merges"]]  # older form
    return Tokenizer.from_str(json.dumps(document))


def write_golden(name, texts, encode):
    all_texts, all_ids, folded = hashlib.sha256(), hashlib.sha256(), b""
    for text in texts:
        all_texts.update(text.encode() + b"\0")
        ids = encode(text)
        packed = struct.pack(f"<{len(ids) + 1}i", *ids, -1)
        all_ids.update(packed)
        value = 0xCBF29CE484222325
        for byte in packed[:-4]:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 32
        folded += struct.pack("<H", (value ^ value >> 16) & 0xFFFF)
    path = GOLDENS / f"tokenizer_{name}.bin"
    path.write_bytes(all_texts.digest() + all_ids.digest() + folded)
    print(path.name, len(texts), "samples", path.stat().st_size, "bytes")


def references():
    """Name and encode function of every golden."""
    smollm2 = GgufVocabulary("SmolLM2-135M-Instruct.Q4_1.gguf")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    smollm = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    yield "smollm2", byte_level(smollm2, smollm)
    yield "smollm2_special", byte_level(smollm2, smollm, special=True)
    yield "gpt2", byte_level(smollm2, gpt2)
    yield "llama3", byte_level(smollm2, pre_tokenizers.Sequence([split_by(LLAMA3), bytes_only]),
                               ignore_merges=True)
    yield "qwen2", byte_level(smollm2, pre_tokenizers.Sequence([split_by(QWEN2), bytes_only]),
                              normalizer=normalizers.NFC())
    gemma3 = GgufVocabulary("gemma-3-270m-q4_k_m.gguf")
    yield "gemma3", sentence_pieces(gemma3)
    yield "gemma3_special", sentence_pieces(gemma3, special=True)
    yield "gemma3_prefix", sentence_pieces(gemma3, add_dummy_prefix=True)
    for name in ("json_bytes", "json_pieces"):
        tokenizer = Tokenizer.from_file(str(GOLDENS / f"tokenizer_{name}.json"))
        yield name, lambda text, tokenizer=tokenizer: tokenizer.encode(text).ids


def main():
    texts = samples()
    lines = texts[::7]
    train_bytes(lines).save(str(GOLDENS / "tokenizer_json_bytes.json"), pretty=False)
    train_pieces(lines).save(str(GOLDENS / "tokenizer_json_pieces.json"), pretty=False)
    for name, encode in references():
        write_golden(name, texts, encode)


if __name__ == "__main__":
    main()
