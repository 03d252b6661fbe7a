// Small tokenizers for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

// GPT-2's printable stand-ins for bytes.
inline std::string byte_alphabet(std::string_view bytes) {
  std::string out;
  for (unsigned char b : bytes) {
    char32_t next = 0x100, c = 0;
    for (int i = 0; i <= b; ++i) {
      const bool printable = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) ||
                             (i >= 0xae && i <= 0xff);
      c = printable ? static_cast<char32_t>(i) : next++;
    }
    append_utf8(out, c);
  }
  return out;
}

inline void add_token(TokenizerSpec& spec, std::string text, TokenKind kind, float score = 0) {
  spec.tokens.push_back(std::move(text));
  spec.kinds.push_back(kind);
  if (spec.algorithm == TokenizerAlgorithm::sentencepiece_bpe) spec.scores.push_back(score);
}

// Token b is byte b; then one token for each merge, given as bytes: {"t", "h"}.
inline TokenizerSpec byte_spec(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  TokenizerSpec spec;
  spec.pretokenizer = "gpt2";
  for (int b = 0; b < 256; ++b) {
    add_token(spec, byte_alphabet(std::string(1, static_cast<char>(b))), TokenKind::normal);
  }
  for (const auto& [left, right] : merges) {
    add_token(spec, byte_alphabet(left + right), TokenKind::normal);
    spec.merges.push_back(byte_alphabet(left) + " " + byte_alphabet(right));
  }
  return spec;
}

// Token 0 is <unk>, 1 <s>, 2 </s>, tokens 3 to 258 are the bytes, then the pieces, best first.
inline TokenizerSpec piece_spec(const std::vector<std::string>& pieces) {
  TokenizerSpec spec;
  spec.algorithm = TokenizerAlgorithm::sentencepiece_bpe;
  add_token(spec, "<unk>", TokenKind::unknown);
  add_token(spec, "<s>", TokenKind::control);
  add_token(spec, "</s>", TokenKind::control);
  spec.unknown = 0;
  spec.bos = 1;
  spec.eos = 2;
  for (int b = 0; b < 256; ++b) {
    constexpr char kHex[] = "0123456789ABCDEF";
    add_token(spec, std::string("<0x") + kHex[b / 16] + kHex[b % 16] + ">", TokenKind::byte);
  }
  float score = 0;
  for (const std::string& piece : pieces) add_token(spec, piece, TokenKind::normal, score--);
  return spec;
}

// What tokens look like, for readable expectations.
inline std::vector<std::string> texts_of(const Tokenizer& tokenizer,
                                         const std::vector<TokenId>& ids) {
  std::vector<std::string> texts;
  for (TokenId id : ids) texts.push_back(tokenizer.token_bytes(id, true));
  return texts;
}

}  // namespace kvi
