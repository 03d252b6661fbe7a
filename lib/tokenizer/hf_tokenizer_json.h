// Reads Hugging Face's tokenizer.json (BPE models, byte-level and SentencePiece style) into a TokenizerSpec.
//
// The files come with models, so they are hostile input: everything is checked before it is used, and
// memory stays proportional to the text. What would change tokens and is not supported is refused,
// never ignored. Stateless, so thread-safe.
#pragma once

#include <string_view>

#include "tokenizer/tokenizer.h"

namespace kvi {

// tokenizer_config_json: the text of tokenizer_config.json, or "" where there is none; it names the BOS
// and EOS tokens and, where it says so, decides over add_bos.
// Throws CORRUPT or UNSUPPORTED naming the place in the file.
TokenizerSpec parse_hf_tokenizer_json(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config_json);

}  // namespace kvi
