// A conversation as tokens: rendered by a chat template, with users' text kept from becoming special tokens.
#pragma once

#include <vector>

#include "jinja/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

// Control tokens are recognised in the template's own text only. Ordinary text is tokenized as the whole
// rendering would be: where template and message meet inside a word, they are one run. A BOS that the model
// wishes for is added unless the template begins with it. Throws what render and encode throw.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                 const TemplateInput& conversation);

}  // namespace kvi
