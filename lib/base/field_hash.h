// SHA-256 over a list of fields: each goes in with its length before it, so that no two lists run together.
//
// Not thread-safe.
#pragma once

#include <bit>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/sha256.h"

namespace kvi {

class FieldHash {
 public:
  void add(std::span<const std::byte> bytes) {
    const uint64_t size = bytes.size();
    sha_.update(std::as_bytes(std::span(&size, 1)));
    sha_.update(bytes);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  template <typename T>
    requires std::is_arithmetic_v<T>
  void add(T value) { add(std::as_bytes(std::span(&value, 1))); }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(static_cast<uint64_t>(values.size()));
    for (const auto& value : values) add(static_cast<const T&>(value));
  }
  Digest finish() { return sha_.finish(); }  // the object is spent

 private:
  static_assert(std::endian::native == std::endian::little, "numbers are hashed as they lie");

  Sha256 sha_;
};

}  // namespace kvi
