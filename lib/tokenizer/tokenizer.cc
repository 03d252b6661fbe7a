#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/byte_bpe.h"
#include "tokenizer/nfc.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/token_index.h"
#include "tokenizer/token_matcher.h"

namespace kvi {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr size_t kMaxTextBytes = size_t{1} << 30;  // of one encode
constexpr size_t kMaxMatchedBytes = 1024;          // of a control or user-defined token

// How models of all families call the tokens that end an answer, for those files that tell of one only.
constexpr std::string_view kEndTokens[] = {"<|endoftext|>", "<|im_end|>",    "<|eot_id|>",
                                           "<|eom_id|>",    "<end_of_turn>", "<|end|>",
                                           "<|eot|>",       "<EOT>"};

void check_sizes(const TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  if (count == 0) throw Error(Status::CORRUPT, "the tokenizer has no tokens");
  if (count > kMaxTokens) {
    throw Error(Status::UNSUPPORTED, concat("the tokenizer has ", count, " tokens; at most ",
                                            kMaxTokens, " are supported"));
  }
  if (spec.kinds.size() != count) {
    throw Error(Status::CORRUPT, concat("the tokenizer has ", count, " tokens but ",
                                        spec.kinds.size(), " token types"));
  }
  if (spec.algorithm != TokenizerAlgorithm::sentencepiece_bpe) return;
  if (spec.scores.empty() && !spec.merges.empty()) return;
  if (spec.scores.size() != count) {
    throw Error(Status::CORRUPT, concat("the tokenizer has ", count, " tokens but ",
                                        spec.scores.size(), " scores, and no merges"));
  }
  for (size_t id = 0; id < count; ++id) {
    if (std::isnan(spec.scores[id])) {
      throw Error(Status::CORRUPT, concat("the score of token ", id, " is not a number"));
    }
  }
}

void check_tokens(const TokenizerSpec& spec) {
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.kinds[id] > TokenKind::byte) {
      throw Error(Status::CORRUPT,
                  concat("token ", id, " has the unknown type ", static_cast<int>(spec.kinds[id])));
    }
    const bool matched = spec.kinds[id] == TokenKind::control ||
                         spec.kinds[id] == TokenKind::user_defined;
    if (matched && spec.tokens[id].size() > kMaxMatchedBytes) {
      throw Error(Status::UNSUPPORTED, concat("token ", id, ", ", quoted(spec.tokens[id]), ", is ",
                                              spec.tokens[id].size(),
                                              " bytes long; control and user-defined tokens of "
                                              "at most ",
                                              kMaxMatchedBytes, " are supported"));
    }
  }
}

void check_role(const TokenizerSpec& spec, std::optional<TokenId> id, const char* role) {
  if (id && (*id < 0 || static_cast<size_t>(*id) >= spec.tokens.size())) {
    throw Error(Status::CORRUPT, concat("the tokenizer's ", role, " token is ", *id,
                                        " but there are ", spec.tokens.size(), " tokens"));
  }
}

void check_spec(const TokenizerSpec& spec) {
  check_sizes(spec);
  check_tokens(spec);
  check_role(spec, spec.bos, "BOS");
  check_role(spec, spec.eos, "EOS");
  check_role(spec, spec.unknown, "unknown");
  check_role(spec, spec.padding, "padding");
  for (TokenId id : spec.end_of_generation) check_role(spec, id, "end-of-generation");
  if (spec.add_bos && !spec.bos) {
    throw Error(Status::CORRUPT, "the tokenizer asks for a BOS token but names none");
  }
}

std::unique_ptr<const TokenMatcher> matcher_of(const std::vector<std::string>& texts,
                                               const std::vector<TokenKind>& kinds,
                                               TokenKind kind) {
  std::vector<std::pair<std::string_view, TokenId>> patterns;
  for (size_t id = 0; id < texts.size(); ++id) {
    if (kinds[id] == kind) patterns.emplace_back(texts[id], static_cast<TokenId>(id));
  }
  return std::make_unique<TokenMatcher>(std::move(patterns));
}

// SentencePiece normalises before it looks for user-defined tokens; tokenizer.json's reference
// looks for them as they are stored.
bool matches_normalized(const TokenizerSpec& spec) {
  return spec.algorithm == TokenizerAlgorithm::sentencepiece_bpe && !spec.scores.empty();
}

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::create(TokenizerSpec spec) {
  check_spec(spec);
  if (spec.algorithm == TokenizerAlgorithm::byte_bpe) {
    return std::make_unique<ByteBpe>(std::move(spec));
  }
  return std::make_unique<SentencePieceBpe>(std::move(spec));
}

Tokenizer::Tokenizer(TokenizerSpec&& spec, std::vector<std::string> bytes)
    : spec_(std::move(spec)), bytes_(std::move(bytes)), ends_generation_(spec_.tokens.size()) {
  auto index = std::make_unique<TokenIndex>(spec_.tokens);
  for (TokenId id = 0; id < vocab_size(); ++id) index->insert(id);
  stored_forms_ = std::move(index);
  control_tokens_ = matcher_of(spec_.tokens, spec_.kinds, TokenKind::control);
  user_defined_tokens_ = matcher_of(matches_normalized(spec_) ? bytes_ : spec_.tokens, spec_.kinds,
                                    TokenKind::user_defined);

  if (spec_.eos) spec_.end_of_generation.push_back(*spec_.eos);
  for (std::string_view name : kEndTokens) {
    const auto id = find_token(name);
    if (id && spec_.kinds[*id] != TokenKind::normal) spec_.end_of_generation.push_back(*id);
  }
  std::vector<TokenId>& ends = spec_.end_of_generation;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  for (TokenId id : ends) ends_generation_[id] = true;
}

Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const TextPart part{text, options.parse_special};
  return encode(std::span(&part, 1), options);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextPart> parts,
                                       const EncodeOptions& options) const {
  struct Range {
    size_t end;
    ParseSpecial parse_special;
  };
  std::string text;
  std::vector<Range> ranges;  // adjacent parts with the same trust are one
  size_t offset = 0;
  for (const TextPart& part : parts) {
    if (part.text.size() > kMaxTextBytes - offset) {
      throw Error(Status::INVALID_ARGUMENT, "the text to encode is too long; split it")
          .amounts(offset + part.text.size(), kMaxTextBytes);
    }
    const size_t valid = valid_utf8_prefix(part.text);
    if (valid < part.text.size()) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat("the text is not UTF-8: ill-formed at byte ", offset + valid));
    }
    offset += part.text.size();
    text += matches_normalized(spec_) ? with_plain_spaces(part.text) : part.text;
    if (!ranges.empty() && ranges.back().parse_special == part.parse_special) {
      ranges.back().end = text.size();
    } else {
      ranges.push_back({text.size(), part.parse_special});
    }
  }

  std::vector<TokenId> out;
  bool prefixed = spec_.add_space_prefix && options.start == TextStart::fresh;
  const std::string_view view = text;
  size_t begin = 0;  // of the stretch that no control token has ended
  size_t pos = 0;
  for (const Range& range : ranges) {
    while (range.parse_special == ParseSpecial::yes) {
      const auto match = control_tokens_->find(view.substr(0, range.end), pos);
      if (!match) break;
      encode_stretch(view.substr(begin, match->begin - begin), prefixed, out);
      out.push_back(match->token);
      begin = pos = match->begin + match->size;
      prefixed = spec_.add_space_prefix && spec_.prefix_after_control;
    }
    pos = range.end;
  }
  encode_stretch(view.substr(begin), prefixed, out);

  if (options.add_bos == AddBos::yes && !spec_.bos) {
    throw Error(Status::INVALID_ARGUMENT,
                "add_bos is yes but this tokenizer has no BOS token; use auto or no");
  }
  const bool has_bos = !out.empty() && spec_.bos == out[0];
  if (options.add_bos == AddBos::yes ||
      (options.add_bos == AddBos::automatic && options.start == TextStart::fresh && spec_.add_bos &&
       !has_bos)) {
    out.insert(out.begin(), *spec_.bos);
  }
  return out;
}

void Tokenizer::encode_stretch(std::string_view text, bool prefixed,
                               std::vector<TokenId>& out) const {
  if (text.empty()) return;
  std::string with_prefix;
  const bool spaced = text.starts_with(' ') || text.starts_with("\u2581");
  if (prefixed && (spec_.prefix_before_space || !spaced)) {
    with_prefix.append(1, ' ').append(text);
    text = with_prefix;
  }
  size_t pos = 0;
  while (auto match = user_defined_tokens_->find(text, pos)) {
    encode_plain(text.substr(pos, match->begin - pos), out);
    out.push_back(match->token);
    pos = match->begin + match->size;
  }
  encode_plain(text.substr(pos), out);
}

void Tokenizer::encode_plain(std::string_view text, std::vector<TokenId>& out) const {
  if (text.empty()) return;
  if (spec_.normalize_nfc) {
    encode_text(normalize_nfc(text), out);
  } else {
    encode_text(text, out);
  }
}

std::string Tokenizer::token_bytes(TokenId token, bool render_special) const {
  if (token < 0 || token >= vocab_size()) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("token ", token, " is out of range: this model has ", vocab_size(),
                       " tokens, from 0"));
  }
  const TokenKind kind = spec_.kinds[token];
  const bool special = kind == TokenKind::control || kind == TokenKind::unknown;
  return special && !render_special ? "" : bytes_[token];
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool render_special) const {
  StreamDecoder decoder(*this, render_special);
  std::string text;
  for (TokenId token : tokens) text += decoder.push(token);
  return text + decoder.finish();
}

bool Tokenizer::is_end_of_generation(TokenId token) const {
  return token >= 0 && token < vocab_size() && ends_generation_[token];
}

std::optional<TokenId> Tokenizer::find_token(std::string_view text) const {
  return stored_forms_->find(text);
}

}  // namespace kvi
