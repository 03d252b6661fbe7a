// Builds a model's tokenizer from what its file says: GGUF metadata, or tokenizer.json.
#pragma once

#include <memory>

#include "format/model_file.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

// vocab_size: rows of the embedding; a tokenizer with more tokens does not fit the model.
// Throws UNSUPPORTED naming the kind of tokenizer, CORRUPT naming the key.
std::unique_ptr<Tokenizer> load_tokenizer(const ModelFile& file, int64_t vocab_size);

}  // namespace kvi
