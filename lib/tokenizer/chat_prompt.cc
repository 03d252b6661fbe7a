#include "tokenizer/chat_prompt.h"

namespace kvi {

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                 const TemplateInput& conversation) {
  const std::vector<TemplatePiece> pieces = chat_template.render(conversation);
  std::vector<TextPart> parts;
  for (const TemplatePiece& piece : pieces) {
    parts.push_back({piece.text, piece.from_message ? ParseSpecial::no : ParseSpecial::yes});
  }
  return tokenizer.encode(parts, EncodeOptions{});
}

}  // namespace kvi
