// SentencePiece BPE (Llama 2, Gemma): characters merge into pieces, a space is U+2581 in the
// vocabulary, and characters that it lacks become byte tokens.
//
// With scores the piece of the highest score is made first, whatever pair makes it (SentencePiece's
// own rule); with merges the first pair of the list is (tokenizer.json's rule).
//
// Immutable, so thread-safe.
#pragma once

#include <array>
#include <bitset>
#include <memory>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/token_index.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/whole_tokens.h"

namespace kvi {

// text with every U+2581 as a space
std::string with_plain_spaces(std::string_view text);

class SentencePieceBpe final : public Tokenizer {
 public:
  explicit SentencePieceBpe(TokenizerSpec spec);

 protected:
  void encode_text(std::string_view text, std::vector<TokenId>& out) const override;

 private:
  void encode_spaced(std::string_view text, std::vector<TokenId>& out) const;  // without U+2581
  void merge_chunk(std::string_view chunk, BpeMerger& merger, std::vector<TokenId>& out) const;
  // What stands for a character without a piece; the chunk's tokens begin at out[first].
  void append_bytes(std::string_view text, size_t first, std::vector<TokenId>& out) const;
  std::optional<BpeMerge> find_piece(std::string_view text) const;

  TokenIndex pieces_;            // by bytes, spaces as spaces
  std::vector<uint32_t> ranks_;  // by id; equal scores have equal ranks
  WholeTokens whole_tokens_;
  std::unique_ptr<const MergeTable> merges_;  // null: by scores
  std::array<TokenId, 256> byte_tokens_;      // -1 where missing
  size_t max_piece_size_ = 0;                 // bytes
  std::bitset<256> before_space_;             // bytes that some piece has right before a space
};

}  // namespace kvi
