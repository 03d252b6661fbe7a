// Takes the blocks of GGUF's quantized formats apart: unsigned codes, scales and factors.
//
// Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace kvi::cpu {

// One block in the terms of packed_format.h.
struct BlockCodes {
  uint8_t codes[256];  // [block length]
  uint16_t scale = 0;  // f16
  uint16_t min = 0;    // f16; negated where the format subtracts it
  int8_t factors[16];  // two levels: by scale_len columns
  int8_t min_factors[16];
};

// block: dtype_info(dtype).block_bytes bytes, at any alignment. Requires: a quantized type.
void split_block(DType dtype, const std::byte* block, BlockCodes& dst);

}  // namespace kvi::cpu
