// Names of prefixes: a key stands for the K and V of one page and, through its parent, of all before it.
//
// A chain of keys begins at root_digest (what computes), enters a scope (who may read), and goes on page by
// page. Keys of different identities, scopes or tokens differ as SHA-256 does; whoever finds one compares
// tokens and root all the same.
//
// Format version 1: keys stand on disks, so a change of what is hashed is a new version.
// A build of prefix_key.cc with KVINFER_KEY_BITS (256) cuts the keys of scopes and pages to so many bits, the
// others 0, for tests of what happens when keys collide.
//
// Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/sha256.h"
#include "base/token_id.h"

namespace kvi {

inline constexpr int kPrefixKeyVersion = 1;

// What makes K and V differ, whoever asks for them.
struct CacheIdentity {
  std::string model;     // fingerprint of the weights
  std::string layout;    // page_len, and each plane's role, shape and dtype, and its RoPE, as text
  std::string numerics;  // id of the arithmetic
  std::string adapter;   // fingerprint of the adapter, "" without
};

Digest root_digest(const CacheIdentity& identity);

// Digests of an identity's parts: of two identities, they say in what they differ.
struct IdentityParts {
  Digest model = {};  // and adapter
  Digest layout = {};
  Digest numerics = {};
};
IdentityParts identity_parts(const CacheIdentity& identity);

// Who may read the pages of a tenant. Stable while the secret is; tenant is any bytes, NUL among them.
Digest scope_salt(std::span<const std::byte> secret, std::string_view tenant);

// The salt of the operator's prefixes, which all tenants that opted in read. No tenant has it.
inline constexpr Digest kSharedScope = {};

// Mixes a scope into a chain: at its root, or at the first page after a shared prefix.
Digest enter_scope(const Digest& parent, const Digest& salt);

// The key of the page that holds tokens and comes after parent. Two blocks of SHA-256 for up to 19 tokens.
Digest page_key(const Digest& parent, std::span<const TokenId> tokens,
                Sha256Code code = Sha256Code::fastest);

}  // namespace kvi
