// Element and block types of weights and KV pages: names, block sizes, byte counts.
//
// Block formats are those of GGUF (ggml); values match its type numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace kvi {

enum class DType : int32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  BF16 = 30,
};

struct DTypeInfo {
  DType dtype;
  const char* name;  // "Q4_K"
  int block_len;     // values in a block; 1 for plain types
  int block_bytes;
};

// nullptr for a number that is not in the table above.
const DTypeInfo* find_dtype(int32_t number);
const DTypeInfo& dtype_info(DType dtype);
inline const char* dtype_name(DType dtype) { return dtype_info(dtype).name; }

// Names of ggml types that are known but not supported ("IQ4_NL"), for error messages; nullptr otherwise.
const char* unsupported_dtype_name(int32_t number);

// Bytes of a row of cols values. Requires: cols is a multiple of the block length.
uint64_t row_bytes(DType dtype, int64_t cols);

}  // namespace kvi
