// Byte-level BPE (GPT-2 and its heirs): every byte is a character of a printable alphabet, words are
// cut by a pre-tokenizer, and pairs merge in the order of the vocabulary's merge list.
//
// Immutable, so thread-safe.
#pragma once

#include <array>
#include <memory>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/token_index.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/whole_tokens.h"

namespace kvi {

class ByteBpe final : public Tokenizer {
 public:
  explicit ByteBpe(TokenizerSpec spec);

 protected:
  void encode_text(std::string_view text, std::vector<TokenId>& out) const override;

 private:
  void encode_word(std::string_view word, BpeMerger& merger, std::vector<TokenId>& out) const;
  void merge_word(std::string_view word, BpeMerger& merger, std::vector<TokenId>& out) const;

  std::unique_ptr<const Pretokenizer> pretokenizer_;
  std::array<TokenId, 256> byte_tokens_;  // -1 for a byte that the vocabulary lacks
  std::unique_ptr<const MergeTable> merges_;
  TokenIndex words_;  // by bytes; normal tokens only
  WholeTokens whole_tokens_;
};

}  // namespace kvi
