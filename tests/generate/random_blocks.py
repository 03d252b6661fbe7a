"""Random but valid quantized weights: gguf-py decodes K-quants but cannot encode them.

Every byte of a block is random except its f16 scales, which are set so that the decoded values have the
wanted standard deviation, and a mean near zero.
"""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

# type: (byte offset of the scale d, byte offset of the scale of the minimum or None, minimum's scale / d)
SCALES = {
    T.Q2_K: (80, 82, 1.5),
    T.Q3_K: (108, None, 0),
    T.Q4_K: (0, 2, 7.5),
    T.Q5_K: (0, 2, 15.5),
    T.Q6_K: (208, None, 0),
}


def random_blocks(rng, rows, cols, dtype, std):
    """[rows, bytes of a row] of dtype."""
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[dtype]
    assert cols % block_len == 0, (cols, dtype)
    num_blocks = rows * cols // block_len
    blocks = np.frombuffer(rng.bytes(num_blocks * block_bytes), np.uint8).reshape(num_blocks, block_bytes).copy()
    d_at, min_at, min_ratio = SCALES[dtype]

    def set_scales(target, d):
        target[:, d_at : d_at + 2] = d.astype("<f2").view(np.uint8).reshape(-1, 2)
        if min_at is not None:
            target[:, min_at : min_at + 2] = (min_ratio * d).astype("<f2").view(np.uint8).reshape(-1, 2)

    sample = blocks[:256].copy()
    set_scales(sample, np.ones(len(sample)))
    unit_std = gguf.dequantize(sample.reshape(len(sample), -1), dtype).std()
    set_scales(blocks, std / unit_std * rng.uniform(0.6, 1.4, num_blocks))
    return blocks.reshape(rows, -1)
