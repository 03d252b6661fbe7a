#!/usr/bin/env python3
"""Writes tests/goldens/quant.bin: block formats as the gguf Python package decodes and encodes them.

Run with a Python that has gguf and numpy; the output does not depend on their versions as far as known.
The file is a sequence of little-endian records:
  int32 ggml type, int32 direction (0: decode bytes to floats, 1: encode floats to bytes),
  int64 number of values, int64 number of bytes, the floats (f32), the bytes.
"""
import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, dequantize, quantize

OUT = pathlib.Path(__file__).parent.parent / "goldens" / "quant.bin"
NUM_VALUES = 1024  # of each record, four K blocks

# Byte offsets of the f16 fields of each block; every other byte may be anything.
HALF_FIELDS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
ENCODED = [T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]


def record(dtype, direction, values, data):
    values, data = np.asarray(values, "<f4").ravel(), np.asarray(data).view(np.uint8).ravel()
    return struct.pack("<iiqq", dtype, direction, values.size, data.size) + values.tobytes() + data.tobytes()


def random_blocks(dtype, rng):
    block_len, block_bytes = GGML_QUANT_SIZES[dtype]
    blocks = rng.integers(0, 256, (NUM_VALUES // block_len, block_bytes), dtype=np.uint8)
    for field in HALF_FIELDS.get(dtype, []):
        halves = rng.normal(0, 0.05, len(blocks)).astype(np.float16)
        halves[0] = np.float16(6e-8)  # subnormal
        blocks[:, field:field + 2] = halves.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(1, -1)


def values_to_encode(rng):
    values = rng.normal(0, 1, NUM_VALUES).astype(np.float32)
    values[32:64] = 0
    values[64:96] = -3.5  # all equal
    values[96:128] = np.linspace(-8, 8, 32)  # ties of rounding, and of the extreme value
    values[128:160] *= 1e-4
    values[160:192] = np.abs(values[160:192]) + 10
    values[192:224] *= 1000
    return values.reshape(1, -1)


def main():
    rng = np.random.default_rng(20240607)
    out = b""
    for dtype in HALF_FIELDS:
        blocks = random_blocks(dtype, rng)
        out += record(dtype, 0, dequantize(blocks, dtype), blocks)
    for dtype in ENCODED:
        values = values_to_encode(rng)
        data = quantize(values, dtype)
        out += record(dtype, 1, values, data)
        out += record(dtype, 0, dequantize(np.ascontiguousarray(data).view(np.uint8), dtype), data)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(out)
    print(f"{OUT}: {len(out)} bytes")


if __name__ == "__main__":
    main()
