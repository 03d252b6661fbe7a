#include "cache/prefix_key.h"

#include <algorithm>

#include "base/field_hash.h"

#ifndef KVINFER_KEY_BITS
#define KVINFER_KEY_BITS 256
#endif

namespace kvi {
namespace {

constexpr int kKeyBits = KVINFER_KEY_BITS;
static_assert(kKeyBits > 0 && kKeyBits <= 256);

Digest cut(Digest key) {
  for (int byte = kKeyBits / 8; byte < 32; ++byte) {
    const int kept = std::max(0, kKeyBits - 8 * byte);  // of this byte's bits, the highest
    key[byte] &= static_cast<uint8_t>(0xff00 >> kept);
  }
  return key;
}

// FieldHash begins with the length of the first field, which is its name here. So the second byte of
// these messages is 0, and that of a page's message is not.
FieldHash begin(std::string_view name) {
  FieldHash hash;
  hash.add(name);
  hash.add(int32_t{kPrefixKeyVersion});
  return hash;
}

// What comes before the tokens of a page, as it is hashed.
struct PageHeader {
  char tag[3] = {'p', 'g', 'k'};
  uint8_t version = kPrefixKeyVersion;
  uint32_t num_tokens;
  Digest parent;
};
static_assert(sizeof(PageHeader) == 40);
static_assert(sizeof(PageHeader) + 19 * sizeof(TokenId) <= 119,
              "two blocks, with SHA-256's own 9 bytes");

}  // namespace

// Never cut: it says what computes, and stands for that on disks; the keys that follow from it are looked up.
Digest root_digest(const CacheIdentity& identity) {
  FieldHash hash = begin("kvinfer prefix root");
  hash.add(std::string_view(identity.model));
  hash.add(std::string_view(identity.layout));
  hash.add(std::string_view(identity.numerics));
  hash.add(std::string_view(identity.adapter));
  return hash.finish();
}

// Never cut, as no key is made of them.
IdentityParts identity_parts(const CacheIdentity& identity) {
  const auto digest = [](std::string_view part, std::string_view text, std::string_view more = "") {
    FieldHash hash = begin("kvinfer prefix identity");
    hash.add(part);
    hash.add(text);
    hash.add(more);
    return hash.finish();
  };
  return {digest("model", identity.model, identity.adapter), digest("layout", identity.layout),
          digest("numerics", identity.numerics)};
}

// Never cut: a salt says who may read, and is no name.
Digest scope_salt(std::span<const std::byte> secret, std::string_view tenant) {
  FieldHash hash = begin("kvinfer tenant scope");
  hash.add(secret);
  hash.add(tenant);
  return hash.finish();
}

Digest enter_scope(const Digest& parent, const Digest& salt) {
  FieldHash hash = begin("kvinfer prefix scope");
  hash.add(std::as_bytes(std::span(parent)));
  hash.add(std::as_bytes(std::span(salt)));
  return cut(hash.finish());
}

Digest page_key(const Digest& parent, std::span<const TokenId> tokens, Sha256Code code) {
  PageHeader header;
  header.num_tokens = static_cast<uint32_t>(tokens.size());
  header.parent = parent;
  Sha256 sha(code);
  sha.update(std::as_bytes(std::span(&header, 1)));
  sha.update(std::as_bytes(tokens));
  return cut(sha.finish());
}

}  // namespace kvi
