#include "cache/prefix_key.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <set>
#include <string>
#include <vector>

namespace kvi {
namespace {

const CacheIdentity kIdentity = {
    .model = "model", .layout = "layout", .numerics = "cpu-1", .adapter = ""};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::vector<TokenId> some_tokens(int count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 1000);
  return tokens;
}

std::vector<Digest> chain(Digest parent, std::span<const TokenId> tokens, size_t page_len) {
  std::vector<Digest> keys;
  for (; tokens.size() >= page_len; tokens = tokens.subspan(page_len)) {
    keys.push_back(parent = page_key(parent, tokens.first(page_len)));
  }
  return keys;
}

TEST(PrefixKeyTest, AnyFieldOfTheIdentityGivesAnotherRoot) {
  std::set<Digest> roots = {root_digest(kIdentity)};
  for (std::string CacheIdentity::*field : {&CacheIdentity::model, &CacheIdentity::layout,
                                            &CacheIdentity::numerics, &CacheIdentity::adapter}) {
    CacheIdentity other = kIdentity;
    other.*field += "x";
    EXPECT_TRUE(roots.insert(root_digest(other)).second);
  }
}

TEST(PrefixKeyTest, FieldsCannotRunTogether) {
  EXPECT_NE(root_digest({"ab", "c", "", ""}), root_digest({"a", "bc", "", ""}));
  EXPECT_NE(root_digest({"a", "", "", ""}), root_digest({"", "a", "", ""}));
  EXPECT_NE(scope_salt(bytes_of("ab"), "c"), scope_salt(bytes_of("a"), "bc"));
  // A tenant whose name is what follows the secret in memory.
  EXPECT_NE(scope_salt(bytes_of("secret"), std::string_view("\0\0", 2)),
            scope_salt(bytes_of("secret"), std::string_view("\0", 1)));
}

TEST(PrefixKeyTest, EqualInputsGiveEqualKeys) {
  const std::vector<TokenId> tokens = some_tokens(16);
  EXPECT_EQ(root_digest(kIdentity), root_digest(CacheIdentity(kIdentity)));
  EXPECT_EQ(scope_salt(bytes_of("s"), "t"), scope_salt(bytes_of("s"), "t"));
  EXPECT_EQ(page_key(kSharedScope, tokens), page_key(kSharedScope, some_tokens(16)));
  EXPECT_EQ(page_key(kSharedScope, tokens), page_key(kSharedScope, tokens, Sha256Code::plain));
}

TEST(PrefixKeyTest, SaltsDifferBySecretAndByEveryByteOfTheTenant) {
  const std::string long_tenant(1 << 20, '\0');
  std::set<Digest> salts = {kSharedScope, scope_salt({}, ""), scope_salt({}, "a"),
                            scope_salt(bytes_of("a"), ""), scope_salt(bytes_of("k"), long_tenant)};
  EXPECT_EQ(salts.size(), 5u);
  for (size_t at : {size_t{0}, long_tenant.size() / 2, long_tenant.size() - 1}) {
    std::string other = long_tenant;
    other[at] = 'x';
    EXPECT_TRUE(salts.insert(scope_salt(bytes_of("k"), other)).second) << at;
  }
}

TEST(PrefixKeyTest, TenantsShareNoKeyOfEqualTokens) {
  const Digest root = root_digest(kIdentity);
  const std::vector<TokenId> tokens = some_tokens(160);
  std::set<Digest> keys;
  for (std::string_view tenant : {"", "a", "b", "ab"}) {
    for (const Digest& key :
         chain(enter_scope(root, scope_salt(bytes_of("k"), tenant)), tokens, 16)) {
      EXPECT_TRUE(keys.insert(key).second) << tenant;
    }
  }
  for (const Digest& key : chain(enter_scope(root, kSharedScope), tokens, 16)) {
    EXPECT_TRUE(keys.insert(key).second) << "shared";
  }
}

TEST(PrefixKeyTest, AKeyDependsOnEveryTokenUpToItsPageAndOnNoneAfter) {
  const size_t page_len = 4;
  const std::vector<TokenId> tokens = some_tokens(32);
  const std::vector<Digest> keys = chain(root_digest(kIdentity), tokens, page_len);
  for (size_t changed = 0; changed < tokens.size(); ++changed) {
    std::vector<TokenId> others = tokens;
    others[changed] ^= 1 << (changed % 32);
    const std::vector<Digest> other_keys = chain(root_digest(kIdentity), others, page_len);
    for (size_t page = 0; page < keys.size(); ++page) {
      EXPECT_EQ(keys[page] == other_keys[page], page < changed / page_len)
          << "token " << changed << ", page " << page;
    }
  }
}

TEST(PrefixKeyTest, TheCutIntoPagesIsPartOfTheKey) {
  const std::vector<TokenId> tokens = some_tokens(32);
  const std::span<const TokenId> all = tokens;
  const Digest root = root_digest(kIdentity);
  EXPECT_NE(chain(root, all, 32).back(), chain(root, all, 16).back());
  EXPECT_NE(page_key(root, all.first(15)), page_key(root, all.first(16)));
  EXPECT_NE(page_key(root, {}), root);
}

// A page whose tokens hold the bytes of another kind of message is not that message.
TEST(PrefixKeyTest, KindsOfMessagesNeverMeet) {
  const Digest root = root_digest(kIdentity);
  const Digest salt = scope_salt(bytes_of("k"), "t");
  std::vector<TokenId> as_tokens(8);
  std::memcpy(as_tokens.data(), salt.data(), salt.size());
  EXPECT_NE(page_key(root, as_tokens), enter_scope(root, salt));
}

// They stand in files: if one of these changes, kPrefixKeyVersion must. Recomputed by hand from the
// description in prefix_key.cc with another implementation of SHA-256.
TEST(PrefixKeyTest, KeysOfVersion1AreForEver) {
  ASSERT_EQ(kPrefixKeyVersion, 1);
  const Digest root = root_digest(kIdentity);
  EXPECT_EQ(to_hex(root), "b2502895c0a7f90dcae760a843ff39cbb06fef2d1450e983cb856e9b9ce9f4d9");
  const Digest salt = scope_salt(bytes_of("secret"), std::string_view("ten\0ant", 7));
  EXPECT_EQ(to_hex(salt), "4df958dab830a14f5cc2a55634477ec3d0a83b4a6361f3b273eea38f48194f0d");
  const Digest scope = enter_scope(root, salt);
  EXPECT_EQ(to_hex(scope), "b8185e417485da9e934334f2a19ad14056b1dbf930f97bf40b2e6f1e566f08ba");
  EXPECT_EQ(to_hex(page_key(scope, some_tokens(16))),
            "ffa2af3a8186ae1381b8c68ad6872f13ee498d964376d64e4c7c5f06d0ec1aff");
}

}  // namespace
}  // namespace kvi
