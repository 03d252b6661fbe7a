#include "tokenizer/sentencepiece.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/word_cache.h"

namespace kvi {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

// "<0x1F>" -> 0x1f
int parse_byte_token(std::string_view token) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::vector<std::string> bytes_by_id(const TokenizerSpec& spec) {
  std::vector<std::string> bytes;
  bytes.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (spec.kinds[id] == TokenKind::byte) {
      const int byte = parse_byte_token(token);
      if (byte < 0) {
        throw Error(Status::CORRUPT, concat("token ", id, ", ", quoted(token),
                                            ", is marked as a byte but is not '<0xNN>'"));
      }
      bytes.emplace_back(1, static_cast<char>(byte));
    } else {
      bytes.push_back(with_plain_spaces(token));
    }
  }
  return bytes;
}

// 0 for the highest score; equal scores share a rank.
std::vector<uint32_t> ranks_by_id(const std::vector<float>& scores) {
  std::vector<TokenId> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return scores[a] > scores[b]; });
  std::vector<uint32_t> ranks(scores.size());
  uint32_t rank = 0;
  for (size_t i = 1; i < order.size(); ++i) {
    if (scores[order[i]] < scores[order[i - 1]]) ++rank;
    ranks[order[i]] = rank;
  }
  return ranks;
}

}  // namespace

std::string with_plain_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t mark = std::min(text.find(kSpaceMark, pos), text.size());
    out += text.substr(pos, mark - pos);
    if (mark < text.size()) out += ' ';
    pos = mark + kSpaceMark.size();
  }
  return out;
}

SentencePieceBpe::SentencePieceBpe(TokenizerSpec given)
    : Tokenizer(std::move(given), bytes_by_id(given)),
      pieces_(bytes()),
      whole_tokens_(bytes().size()) {
  byte_tokens_.fill(-1);
  for (TokenId id = 0; id < vocab_size(); ++id) {
    const std::string& piece = bytes()[id];
    switch (spec().kinds[id]) {
      case TokenKind::byte: byte_tokens_[static_cast<unsigned char>(piece[0])] = id; break;
      case TokenKind::control:
      case TokenKind::unknown: break;
      default:
        if (piece.empty()) break;
        pieces_.insert(id);
        max_piece_size_ = std::max(max_piece_size_, piece.size());
        for (size_t i = 1; i < piece.size(); ++i) {
          if (piece[i] == ' ') before_space_.set(static_cast<unsigned char>(piece[i - 1]));
        }
    }
  }
  const bool has_all_bytes = std::find(byte_tokens_.begin(), byte_tokens_.end(), -1) ==
                             byte_tokens_.end();
  if (!has_all_bytes && !spec().unknown) {
    throw Error(Status::CORRUPT,
                "the tokenizer has neither all 256 byte tokens nor an unknown token");
  }
  if (!spec().scores.empty()) {
    ranks_ = ranks_by_id(spec().scores);
  } else {
    merges_ = std::make_unique<MergeTable>(spec(), stored_forms());
  }
}

void SentencePieceBpe::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  if (text.find(kSpaceMark) != std::string_view::npos) {
    encode_spaced(with_plain_spaces(text), out);
  } else {
    encode_spaced(text, out);
  }
}

// No piece spans a place where a byte outside before_space_ meets a space, so no merge does either,
// and the chunks between such places are independent.
void SentencePieceBpe::encode_spaced(std::string_view text, std::vector<TokenId>& out) const {
  BpeMerger merger;
  WordCache cache(text.size());
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    do {
      end = std::min(text.find(' ', end + 1), text.size());
    } while (end < text.size() && before_space_[static_cast<unsigned char>(text[end - 1])]);
    cache.encode(text.substr(begin, end - begin), out,
                 [&](std::string_view chunk, std::vector<TokenId>& tokens) {
                   whole_tokens_.encode(pieces_, chunk, tokens,
                                        [&](std::string_view whole, std::vector<TokenId>& ids) {
                                          merge_chunk(whole, merger, ids);
                                        });
                 });
    begin = end;
  }
}

std::optional<BpeMerge> SentencePieceBpe::find_piece(std::string_view text) const {
  if (text.size() > max_piece_size_) return std::nullopt;
  const auto id = pieces_.find(text);
  if (!id) return std::nullopt;
  return BpeMerge{ranks_[*id], *id};
}

void SentencePieceBpe::merge_chunk(std::string_view chunk, BpeMerger& merger,
                                   std::vector<TokenId>& out) const {
  merger.clear();
  for (size_t pos = 0; pos < chunk.size();) {
    const int size = decode_utf8(chunk, pos).size;
    merger.add(static_cast<uint32_t>(pos), static_cast<uint32_t>(size),
               pieces_.find(chunk.substr(pos, size)).value_or(-1));
    pos += size;
  }
  if (merges_) {
    merger.merge([&](const BpeSymbol& left, const BpeSymbol& right) {
      return merges_->find(left.id, right.id);
    });
  } else {
    merger.merge([&](const BpeSymbol& left, const BpeSymbol& right) {
      return find_piece(chunk.substr(left.begin, left.size + right.size));
    });
  }
  const size_t first = out.size();
  merger.for_each([&](const BpeSymbol& symbol) {
    if (symbol.id >= 0) {
      out.push_back(symbol.id);
    } else {
      append_bytes(chunk.substr(symbol.begin, symbol.size), first, out);
    }
  });
}

void SentencePieceBpe::append_bytes(std::string_view text, size_t first,
                                    std::vector<TokenId>& out) const {
  const size_t start = out.size();
  for (char c : text) {
    const TokenId id = byte_tokens_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      out.push_back(id);
      continue;
    }
    out.resize(start);
    // A run of unknown characters is one unknown token.
    if (out.size() == first || out.back() != *spec().unknown) out.push_back(*spec().unknown);
    return;
  }
}

}  // namespace kvi
