// Cuts text into the words that byte-level BPE merges within.
//
// The four published splitting rules are hand-written scanners; any other regex of a tokenizer.json
// runs through PCRE2 (regex_split). Immutable, so thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvi {

class Pretokenizer {
 public:
  // By spec.pretokenizer or, where that is empty, spec.split_patterns. Throws UNSUPPORTED.
  static std::unique_ptr<const Pretokenizer> create(const TokenizerSpec& spec);
  virtual ~Pretokenizer() = default;

  // Appends the end of every word of text, in bytes from its start: the words are adjacent and
  // cover it. Requires: well-formed UTF-8.
  virtual void split(std::string_view text, std::vector<uint32_t>& word_ends) const = 0;
};

// The regexes of the scanners, as published with the models. smollm splits by kDigitPattern first,
// then each stretch by kGpt2Pattern.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kDigitPattern = R"(\p{N})";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The scanner that does what patterns do, one after the other; "" when there is none.
std::string_view find_pretokenizer(std::span<const std::string> patterns);

}  // namespace kvi
