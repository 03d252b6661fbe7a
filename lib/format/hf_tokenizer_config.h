// Special tokens and the chat template of a Hugging Face folder, under the keys that GGUF uses.
// The vocabulary itself is in tokenizer.json, which lib/tokenizer reads.
//
// Thread-safe: pure functions of the files.
#pragma once

#include <string>

#include "format/json_file.h"
#include "format/model_file.h"

namespace kvi {

// Adds to metadata; config is the language model's part of config.json. Throws as read_hf_config.
void read_hf_tokenizer_config(const std::string& folder, const JsonObject& config,
                              Metadata& metadata);

}  // namespace kvi
