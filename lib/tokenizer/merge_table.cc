#include "tokenizer/merge_table.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/text.h"

namespace kvi {

MergeTable::MergeTable(const TokenizerSpec& spec, const TokenIndex& stored_forms)
    : slots_(std::bit_ceil(std::max<size_t>(spec.merges.size() * 2, 2))) {
  std::string whole;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const std::string& merge = spec.merges[rank];
    const auto refuse = [&](const char* why) {
      throw Error(Status::CORRUPT,
                  concat("merge ", rank, " of the tokenizer, ", quoted(merge), ", ", why));
    };
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) refuse("is not 'left right'");
    const std::string_view left_text = std::string_view(merge).substr(0, space);
    const std::string_view right_text = std::string_view(merge).substr(space + 1);
    const auto left = stored_forms.find(left_text);
    const auto right = stored_forms.find(right_text);
    if (!left || !right) refuse("joins a token that is not in the vocabulary");
    whole.assign(left_text).append(right_text);
    const auto id = stored_forms.find(whole);
    if (!id) refuse("makes a token that is not in the vocabulary");
    if (spec.kinds[*id] == TokenKind::control) continue;
    insert(*left, *right, {static_cast<uint32_t>(rank), *id});
  }
}

void MergeTable::insert(TokenId left, TokenId right, BpeMerge merge) {
  const uint64_t key = key_of(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash(key) & mask;; i = (i + 1) & mask) {
    if (slots_[i].merge.id >= 0 && slots_[i].key == key) return;  // the better one is there
    if (slots_[i].merge.id < 0) {
      slots_[i] = {key, merge};
      return;
    }
  }
}

}  // namespace kvi
