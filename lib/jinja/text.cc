#include "jinja/text.h"

#include <algorithm>

namespace kvi::jinja {

size_t MarkedText::run_at(size_t pos) const {
  auto run = std::upper_bound(
      runs_.begin(), runs_.end(), pos,
      [](size_t value, const Run& candidate) { return value < candidate.end; });
  return static_cast<size_t>(run - runs_.begin());
}

Origin MarkedText::origin_at(size_t pos) const { return runs_[run_at(pos)].origin; }

Origin MarkedText::origin() const {
  bool mixed = runs_.size() > 1;  // neighbours differ
  return mixed || (!runs_.empty() && runs_[0].origin == Origin::from_message)
             ? Origin::from_message
             : Origin::from_template;
}

void MarkedText::extend(size_t end, Origin origin) {
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end = end;
  } else {
    runs_.push_back({end, origin});
  }
}

void MarkedText::append(std::string_view text, Origin origin) {
  if (text.empty()) return;
  bytes_ += text;
  extend(bytes_.size(), origin);
}

void MarkedText::append_slice(const MarkedText& other, size_t begin, size_t end) {
  if (begin >= end) return;
  size_t base = bytes_.size();
  bytes_.append(other.bytes_, begin, end - begin);
  for (size_t run = other.run_at(begin); begin < end; ++run) {
    size_t run_end = std::min(other.runs_[run].end, end);
    extend(base += run_end - begin, other.runs_[run].origin);
    begin = run_end;
  }
}

}  // namespace kvi::jinja
