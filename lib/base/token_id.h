// A token's number in a model's vocabulary, for rooms that know no tokenizer.
#pragma once

#include <cstdint>

namespace kvi {

using TokenId = int32_t;

}  // namespace kvi
