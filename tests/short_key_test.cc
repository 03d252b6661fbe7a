// Keys of a build with KVINFER_KEY_BITS=8: what tests of colliding keys rest on.
#include <gtest/gtest.h>

#include <set>

#include "cache/prefix_key.h"

namespace kvi {
namespace {

TEST(ShortKeyTest, KeysHaveTheirFirstBitsOnlyAndCollide) {
  std::set<Digest> keys;
  Digest key = enter_scope(root_digest({"m", "l", "n", ""}), scope_salt({}, "tenant"));
  for (TokenId token = 0; token < 4000; ++token) {
    key = page_key(key, std::span(&token, 1));
    for (size_t byte = 1; byte < key.size(); ++byte) ASSERT_EQ(key[byte], 0);
    keys.insert(key);
  }
  EXPECT_LE(keys.size(), 256u);
  EXPECT_GT(keys.size(), 10u);
}

TEST(ShortKeyTest, SaltsStayWhole) {
  EXPECT_NE(scope_salt({}, "tenant")[31] | scope_salt({}, "other")[31], 0);
}

}  // namespace
}  // namespace kvi
