// The naive model: what every slot of a page must hold, from the tokens up to it and from who computed it.
//
// A slot's bytes are a hash of model, group and all tokens up to its position, tagged with its owner: the operator,
// a tenant, or one session of a tenant that does not share. So a page that is reused for other tokens, at another
// place, across tenants, or damaged by a tier, is seen by looking at it.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/token_id.h"

namespace kvi::sim {

// Who computed: never 0, so that zeroed memory is nobody's.
struct Owner {
  uint8_t tenant = 0;   // 1: the operator
  uint8_t session = 0;  // of one that does not share; 0: of the tenant
  bool operator==(const Owner&) const = default;
};
constexpr uint8_t kOperator = 1;

inline uint64_t mixed(uint64_t bits) {
  bits = (bits ^ bits >> 32) * 0xd6e8feb86659fd93;
  bits = (bits ^ bits >> 32) * 0xd6e8feb86659fd93;
  return bits ^ bits >> 32;
}

// Of the prefix before any token; and with one more.
inline uint64_t empty_prefix(int model) { return mixed(static_cast<uint64_t>(model) + 1); }
inline uint64_t extend_prefix(uint64_t prefix, TokenId token) {
  return mixed(prefix ^ (static_cast<uint64_t>(token) + 0x9e3779b97f4a7c15));
}

inline uint64_t slot_value(uint64_t prefix, int group, Owner owner) {
  const uint64_t hash = mixed(prefix + static_cast<uint64_t>(group) * 0x632be59bd9b4e019);
  return hash << 16 | static_cast<uint64_t>(owner.session) << 8 | owner.tenant;
}
inline Owner owner_of(uint64_t value) {
  return {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8)};
}
inline bool same_tokens(uint64_t value, uint64_t other) { return value >> 16 == other >> 16; }

// A slot's first and last word hold the value, so that half a page is seen too.
class Slot {
 public:
  Slot(std::byte* page, uint64_t page_bytes, int page_len, int index)
      : first_(page + page_bytes / page_len * index), last_(first_ + page_bytes / page_len - 8) {}

  void write(uint64_t value) {
    std::memcpy(first_, &value, sizeof value);
    std::memcpy(last_, &value, sizeof value);
  }
  uint64_t first() const { return read(first_); }
  uint64_t last() const { return read(last_); }

 private:
  static uint64_t read(const std::byte* at) {
    uint64_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::byte *first_, *last_;
};

}  // namespace kvi::sim
