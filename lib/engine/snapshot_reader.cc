#include "engine/snapshot_reader.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

std::string differs(const std::string& field, const std::string& found,
                    const std::string& expected) {
  return concat("the ", field, " is ", found, "; this engine has ", expected);
}

// What differs between the pages of a snapshot and the engine's, or "".
std::string layout_difference(const SnapshotHeader& header, const SnapshotTarget& target) {
  std::string text;
  const auto equal = [&](const std::string& field, int64_t found, int64_t expected) {
    if (text.empty() && found != expected) {
      text = differs(field, std::to_string(found), std::to_string(expected));
    }
    return text.empty();
  };
  equal("page length", header.page_len, target.page_len);
  if (!equal("number of layer groups", std::ssize(header.groups), std::ssize(target.groups))) {
    return text;
  }
  for (size_t g = 0; g < header.groups.size(); ++g) {
    const std::string group = concat("group ", g);
    const auto &planes = header.groups[g].layout.planes, &ours = target.groups[g].layout.planes;
    equal("window of " + group, header.groups[g].window, target.groups[g].window);
    if (!equal("number of planes of " + group, std::ssize(planes), std::ssize(ours))) return text;
    for (size_t i = 0; i < planes.size() && text.empty(); ++i) {
      const std::string plane = concat(" of plane ", i, " of ", group);
      equal("layer" + plane, planes[i].layer, ours[i].layer);
      equal("role" + plane, static_cast<int>(planes[i].role), static_cast<int>(ours[i].role));
      equal("first head" + plane, planes[i].first_head, ours[i].first_head);
      equal("number of heads" + plane, planes[i].num_heads, ours[i].num_heads);
      equal("dim" + plane, planes[i].dim, ours[i].dim);
      if (text.empty() && planes[i].dtype != ours[i].dtype) {
        text = differs("dtype" + plane, dtype_name(planes[i].dtype), dtype_name(ours[i].dtype));
      }
    }
  }
  return text;
}

}  // namespace

SnapshotReader::SnapshotReader(SnapshotSource source, SnapshotTarget target)
    : scanner_(std::move(source)), target_(std::move(target)) {
  if (!scanner_.read_header()) return;
  const SnapshotHeader& header = *scanner_.header();
  if (header.model_fingerprint != target_.model_fingerprint) {
    scanner_.stop(SnapshotStop::other_model,
                  differs(concat("model's fingerprint (of ", quoted(header.model_name), ")"),
                          quoted(header.model_fingerprint), quoted(target_.model_fingerprint)));
    return;
  }
  pages_fit_ = true;
  if (const std::string difference = layout_difference(header, target_); !difference.empty()) {
    scanner_.stop(SnapshotStop::other_layout, difference);
    pages_fit_ = false;
  } else if (header.numerics_id != target_.numerics_id &&
             target_.foreign_numerics == ForeignNumerics::refuse) {
    scanner_.stop(SnapshotStop::other_numerics,
                  differs("numerics id", quoted(header.numerics_id), quoted(target_.numerics_id)));
    pages_fit_ = false;
  }
  const bool all_there = scanner_.read_tokens(
      [&](std::span<const TokenId> run) { take_tokens(run); });
  // What the pages could give at best; windows may leave nothing where tokens were lost.
  const int64_t most_len = std::min(header.kv_len, std::ssize(tokens_));
  if (all_there && pages_fit_) wanted_len_ = scanner_.order().whole_len(most_len);
}

void SnapshotReader::take_tokens(std::span<const TokenId> run) {
  for (const TokenId token : run) {
    if (tokens_end_) return;
    if (std::ssize(tokens_) == target_.max_tokens) {
      scanner_.stop(SnapshotStop::too_long,
                    differs("number of tokens", std::to_string(scanner_.header()->num_tokens),
                            concat("room for ", target_.max_tokens)));
      tokens_end_ = true;
    } else if (token < 0 || token >= target_.vocab_size) {
      scanner_.stop(SnapshotStop::damaged_tokens,
                    concat("token ", tokens_.size(), " is ", token, "; expected 0 to ",
                           target_.vocab_size - 1));
      tokens_end_ = true;
    } else {
      tokens_.push_back(token);
    }
  }
}

std::optional<SnapshotPage> SnapshotReader::read_page(std::span<std::byte> page) {
  if (pages_end_ || wanted_len_ == 0) return std::nullopt;
  const std::optional<SnapshotPage> next = scanner_.order().page();
  if (!next || int64_t{next->index} * target_.page_len >= wanted_len_) return std::nullopt;
  KVI_CHECK(page.size() >= next->num_bytes);
  if (!scanner_.read_page(page)) {
    pages_end_ = true;
    return std::nullopt;
  }
  return next;
}

SnapshotReason SnapshotReader::reason() const {
  return pages_fit_ ? scanner_.reason_for(std::ssize(tokens_)) : scanner_.reason();
}

int64_t SnapshotReader::kv_len() const {
  return wanted_len_ == 0 ? 0 : scanner_.order().usable_len(wanted_len_);
}

}  // namespace kvi
