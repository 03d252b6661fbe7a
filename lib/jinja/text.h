// Text that remembers which of its bytes came out of a message.
//
// Message bytes must never become special tokens, so every string operation of the template
// language is built from two primitives that keep the marks: append a piece, append a slice.
//
// A plain value; not thread-safe to change.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvi::jinja {

enum class Origin : bool { from_template, from_message };

class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string_view text, Origin origin) { append(text, origin); }

  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  Origin origin_at(size_t pos) const;  // requires: pos < size()
  Origin origin() const;               // from_message where any byte is

  void append(std::string_view text, Origin origin);
  void append(const MarkedText& other) { append_slice(other, 0, other.size()); }
  void append_slice(const MarkedText& other, size_t begin, size_t end);  // requires: other != *this

  size_t memory_bytes() const { return bytes_.size() + runs_.size() * sizeof(Run); }

  // Calls visit(text, origin) for each longest stretch of one origin, in order.
  template <typename Visit>
  void for_each_run(const Visit& visit) const {
    size_t begin = 0;
    for (const Run& run : runs_) {
      visit(std::string_view(bytes_).substr(begin, run.end - begin), run.origin);
      begin = run.end;
    }
  }

 private:
  struct Run {
    size_t end;  // one past its last byte; it begins where the run before ends
    Origin origin;
  };

  size_t run_at(size_t pos) const;
  void extend(size_t end, Origin origin);

  std::string bytes_;
  std::vector<Run> runs_;  // neighbours differ in origin; none is empty
};

}  // namespace kvi::jinja
