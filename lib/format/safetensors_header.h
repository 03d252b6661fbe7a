// The header of one safetensors file: which tensor lies where, under its own name.
//
// Layout: github.com/huggingface/safetensors, "Format": a 64-bit length, that many bytes of JSON, and
// the tensors back to back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"

namespace kvi {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as written: "BF16"
  std::vector<int64_t> shape;  // outermost first; empty for a single value
  uint64_t begin = 0;          // bytes from the start of the file
  uint64_t end = 0;
};

// In the order of the bytes. Throws CORRUPT or UNSUPPORTED naming file, tensor and value, unless the tensors
// fill the file exactly and each is as long as its dtype and shape say.
std::vector<SafetensorsEntry> read_safetensors_header(const File& file);

}  // namespace kvi
