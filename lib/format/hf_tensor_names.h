// The GGUF names of tensors that Hugging Face checkpoints name otherwise.
//
// Thread-safe: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvi {

enum class HfArrangement {
  as_stored,
  transposed,  // GPT-2's Conv1D: stored [in, out]
};

struct HfTensorName {
  std::string gguf_name;
  HfArrangement arrangement = HfArrangement::as_stored;
  int layer = -1;  // -1: of no layer
};

// architecture: as GGUF names it ("llama"). Nothing for tensors that take no part in the language model (a
// vision tower, buffers). A name that nobody knows is kept, so that the model's loader can refuse it.
std::optional<HfTensorName> translate_tensor_name(std::string_view architecture,
                                                  std::string_view name);

}  // namespace kvi
