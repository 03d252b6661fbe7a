// Snapshots with bits flipped, bytes lost and bytes added: whatever happened, a reader gives a true prefix and a
// reason, and allocates little.

#include <gtest/gtest.h>

#include "support/allocation_watch.h"
#include "support/seed.h"
#include "support/snapshot_sample.h"

namespace kvi {
namespace {

constexpr size_t kMaxAllocation = 1 << 18;  // the snapshots have a few kilobytes

// Reads bytes, which were sample's, and expects a prefix of sample. True: it was taken for whole.
bool gives_true_prefix(const SnapshotSample& sample, const std::string& bytes) {
  static std::vector<std::byte> page(1 << 12);
  reset_largest_allocation();
  SnapshotReader reader(source_of(bytes), sample.target());
  while (const auto place = reader.read_page(page)) {
    const auto& original = sample.pages.at({place->group, place->index});
    EXPECT_EQ(place->num_bytes, original.size());
    EXPECT_TRUE(std::equal(original.begin(), original.end(), page.begin()));
  }
  const SnapshotCheck check = verify_snapshot(source_of(bytes));
  EXPECT_LE(largest_allocation(), kMaxAllocation);

  const auto& tokens = reader.tokens();
  EXPECT_LE(tokens.size(), sample.tokens.size());
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), sample.tokens.begin()));
  EXPECT_LE(reader.kv_len(), std::ssize(tokens));
  EXPECT_EQ(check.num_tokens, std::ssize(tokens));
  EXPECT_EQ(check.kv_len, reader.kv_len());
  EXPECT_FALSE(reader.reason().text.empty());
  EXPECT_FALSE(check.reason.text.empty());
  const bool whole = reader.reason().stop == SnapshotStop::complete;
  EXPECT_TRUE(!whole || reader.kv_len() == sample.header.kv_len);
  return whole;
}

TEST(SnapshotMutationTest, NoFlippedBitGoesUnnoticed) {
  for (const std::vector<int>& windows : {std::vector<int>{0}, {0, 12}}) {
    const SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, windows), 1);
    ASSERT_TRUE(gives_true_prefix(sample, sample.bytes));
    std::string bytes = sample.bytes;
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        bytes[at] ^= static_cast<char>(1 << bit);
        ASSERT_FALSE(gives_true_prefix(sample, bytes)) << "bit " << bit << " of byte " << at;
        bytes[at] = sample.bytes[at];
      }
    }
  }
}

TEST(SnapshotMutationTest, AnyDamageLeavesATruePrefix) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 40; ++round) {
    const int page_len = 1 << below(5);
    const int64_t num_tokens = static_cast<int64_t>(below(80));
    const int64_t kv_len = static_cast<int64_t>(below(static_cast<uint64_t>(num_tokens) + 1));
    std::vector<int> windows(1 + below(3));
    for (int& window : windows) window = below(2) ? 0 : 1 + static_cast<int>(below(40));
    const SnapshotSample sample = make_snapshot(
        sample_header(page_len, num_tokens, kv_len, windows), random());
    ASSERT_TRUE(gives_true_prefix(sample, sample.bytes));
    for (int i = 0; i < 200; ++i) {
      std::string bytes = sample.bytes;
      for (uint64_t times = 1 + below(3); times > 0; --times) {
        const size_t at = below(bytes.size() + 1), size = below(64);
        switch (below(6)) {
          case 0: bytes.resize(at); break;
          case 1: bytes.erase(at, size); break;
          case 2: bytes.insert(at, size, static_cast<char>(random())); break;
          case 3: bytes.insert(at, bytes.substr(below(bytes.size() + 1), size)); break;
          case 4: bytes.replace(at, size, size, '\0'); break;
          default:
            if (at < bytes.size()) bytes[at] = static_cast<char>(random());
        }
      }
      gives_true_prefix(sample, bytes);
      ASSERT_FALSE(HasFailure()) << "round " << round << ", damage " << i;
    }
  }
}

// A header that claims the most, with a checksum that holds, and nothing behind it.
TEST(SnapshotMutationTest, ClaimsAllocateNothing) {
  SnapshotHeader header = sample_header(1 << 14, INT32_MAX, INT32_MAX, {0, 1 << 30});
  for (SnapshotGroup& group : header.groups) {
    for (Plane& plane : group.layout.planes) plane.num_heads = plane.dim = 1 << 10;
    group.layout = canonical_layout(group.layout);
  }
  const std::string bytes = sealed_header(encode_snapshot_header(header), kSnapshotVersion);
  SnapshotSample sample = {
      .header = header, .tokens = {}, .pages = {}, .bytes = bytes, .record_begins = {}};
  EXPECT_FALSE(gives_true_prefix(sample, bytes));
  EXPECT_GT(inspect_snapshot(source_of(bytes)).num_bytes, uint64_t{1} << 50);
}

}  // namespace
}  // namespace kvi
