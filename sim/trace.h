// What the core decided, as one number: equal traces have equal hashes, in every build and on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "base/checksum.h"

namespace kvi::sim {

class Trace {
 public:
  void add(char what, std::initializer_list<int64_t> values) {
    put(static_cast<uint64_t>(what) << 32 | values.size());
    for (const int64_t value : values) put(static_cast<uint64_t>(value));
  }
  std::string hash() {
    flush();
    const Checksum value = sum_.value();
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[value[1] >> shift & 15];
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[value[0] >> shift & 15];
    return text;
  }

 private:
  void put(uint64_t word) {
    for (int byte = 0; byte < 8; ++byte) {
      buffer_[size_++] = static_cast<std::byte>(word >> (8 * byte));
    }
    if (size_ + 8 > buffer_.size()) flush();
  }
  void flush() {
    sum_.update(std::span(buffer_).first(size_));
    size_ = 0;
  }

  RunningChecksum sum_;
  std::array<std::byte, 4096> buffer_;
  size_t size_ = 0;
};

}  // namespace kvi::sim
