#include "tokenizer/byte_bpe.h"

#include "base/utf8.h"
#include "tokenizer/word_cache.h"

namespace kvi {
namespace {

// GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 on, in order.
constexpr std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> chars{};
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) ||
                           (b >= 0xae && b <= 0xff);
    chars[b] = printable ? b : next++;
  }
  return chars;
}

constexpr std::array<char32_t, 256> kByteAlphabet = byte_alphabet();

constexpr std::array<int, 0x144> alphabet_bytes() {
  std::array<int, 0x144> bytes{};
  for (int& byte : bytes) byte = -1;
  for (int b = 0; b < 256; ++b) bytes[kByteAlphabet[b]] = b;
  return bytes;
}

constexpr std::array<int, 0x144> kAlphabetBytes = alphabet_bytes();

// A token with a character outside the alphabet stands for its own text.
std::string bytes_of(const std::string& token) {
  std::string bytes;
  for (size_t pos = 0; pos < token.size();) {
    const CodePoint c = decode_utf8(token, pos);
    if (!c.valid || c.value >= kAlphabetBytes.size() || kAlphabetBytes[c.value] < 0) return token;
    bytes += static_cast<char>(kAlphabetBytes[c.value]);
    pos += c.size;
  }
  return bytes;
}

std::vector<std::string> bytes_by_id(const TokenizerSpec& spec) {
  std::vector<std::string> bytes;
  bytes.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const bool encoded = spec.kinds[id] == TokenKind::normal || spec.kinds[id] == TokenKind::unused;
    bytes.push_back(encoded ? bytes_of(spec.tokens[id]) : spec.tokens[id]);
  }
  return bytes;
}

}  // namespace

ByteBpe::ByteBpe(TokenizerSpec given)
    : Tokenizer(std::move(given), bytes_by_id(given)),
      pretokenizer_(Pretokenizer::create(spec())),
      words_(bytes()),
      whole_tokens_(bytes().size()) {
  byte_tokens_.fill(-1);
  for (int b = 0; b < 256; ++b) {
    std::string letter;
    append_utf8(letter, kByteAlphabet[b]);
    if (auto id = find_token(letter)) byte_tokens_[b] = *id;
  }
  merges_ = std::make_unique<MergeTable>(spec(), stored_forms());
  for (TokenId id = 0; id < vocab_size(); ++id) {
    if (spec().kinds[id] == TokenKind::normal) words_.insert(id);
  }
}

void ByteBpe::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  std::vector<uint32_t> word_ends;
  pretokenizer_->split(text, word_ends);
  BpeMerger merger;
  WordCache cache(text.size());
  size_t begin = 0;
  for (uint32_t end : word_ends) {
    cache.encode(text.substr(begin, end - begin), out,
                 [&](std::string_view word, std::vector<TokenId>& tokens) {
                   encode_word(word, merger, tokens);
                 });
    begin = end;
  }
}

void ByteBpe::encode_word(std::string_view word, BpeMerger& merger,
                          std::vector<TokenId>& out) const {
  if (!spec().ignore_merges) {
    whole_tokens_.encode(words_, word, out,
                         [&](std::string_view whole, std::vector<TokenId>& tokens) {
                           merge_word(whole, merger, tokens);
                         });
  } else if (auto id = words_.find(word)) {
    out.push_back(*id);
  } else {
    merge_word(word, merger, out);
  }
}

void ByteBpe::merge_word(std::string_view word, BpeMerger& merger,
                         std::vector<TokenId>& out) const {
  merger.clear();
  for (size_t i = 0; i < word.size(); ++i) {
    const TokenId id = byte_tokens_[static_cast<unsigned char>(word[i])];
    if (id >= 0) merger.add(static_cast<uint32_t>(i), 1, id);
  }
  merger.merge([this](const BpeSymbol& left, const BpeSymbol& right) {
    return merges_->find(left.id, right.id);
  });
  merger.for_each([&](const BpeSymbol& symbol) { out.push_back(symbol.id); });
}

}  // namespace kvi
