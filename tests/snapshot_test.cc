#include "engine/snapshot_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/sha256.h"
#include "support/expect_error.h"
#include "support/snapshot_sample.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

using Pages = std::map<std::pair<int, int>, std::vector<std::byte>>;

struct Taken {
  std::vector<TokenId> tokens;
  Pages pages;
  int64_t kv_len = 0;
  SnapshotReason reason;
};

Taken take(SnapshotSource source, const SnapshotTarget& target) {
  SnapshotReader reader(std::move(source), target);
  Taken taken;
  std::vector<std::byte> page(1 << 16);
  while (const auto place = reader.read_page(page)) {
    taken.pages[{place->group, place->index}] = {page.begin(),
                                                 page.begin() + std::ptrdiff_t(place->num_bytes)};
  }
  taken.tokens = reader.tokens();
  taken.kv_len = reader.kv_len();
  taken.reason = reader.reason();
  return taken;
}

Taken take(const std::string& bytes, const SnapshotTarget& target) {
  return take(source_of(bytes), target);
}

// Whether pages hold all that a sequence of len positions reads: in a window, its last positions.
bool hold_prefix(const SnapshotHeader& header, const Pages& pages, int64_t len) {
  for (int g = 0; g < static_cast<int>(header.groups.size()); ++g) {
    const int window = header.groups[g].window;
    for (int64_t at = window == 0 ? 0 : std::max<int64_t>(0, len - window); at < len; ++at) {
      if (!pages.contains({g, static_cast<int>(at / header.page_len)})) return false;
    }
  }
  return true;
}

int64_t longest_prefix(const SnapshotHeader& header, const Pages& pages, int64_t most_len) {
  int64_t len = std::min(most_len, header.kv_len);
  while (!hold_prefix(header, pages, len)) --len;
  return len;
}

// A hybrid with a page that both groups fill in part, and tokens without K and V.
SnapshotSample hybrid() { return make_snapshot(sample_header(4, 37, 33, {0, 12}), 1); }

TEST(SnapshotTest, GivesBackWhatWasWritten) {
  for (const SnapshotHeader& header :
       {sample_header(16, 0, 0, {}), sample_header(16, 5, 0, {0}),
        sample_header(4, 37, 33, {0, 12}), sample_header(16, 16, 16, {0}),
        sample_header(1, 7, 7, {3, 5, 0}), sample_header(2, 5000, 4999, {512, 0}),
        sample_header(64, 3000, 3000, {1})}) {
    const SnapshotSample sample = make_snapshot(header, 2);
    for (size_t max_piece : {size_t{1}, size_t{7}, SIZE_MAX}) {
      const Taken taken = take(source_of(sample.bytes, max_piece), sample.target());
      EXPECT_EQ(taken.reason.stop, SnapshotStop::complete) << taken.reason.text;
      EXPECT_EQ(taken.tokens, sample.tokens);
      EXPECT_EQ(taken.pages, sample.pages);
      EXPECT_EQ(taken.kv_len, header.kv_len);
    }
  }
}

TEST(SnapshotTest, WindowsKeepTheirLastPositionsOnly) {
  const SnapshotSample sample = hybrid();  // 33 positions of 4 a page; a window of 12 begins at 21
  for (int index = 0; index < 9; ++index) {
    EXPECT_TRUE(sample.pages.contains({0, index})) << index;
    EXPECT_EQ(sample.pages.contains({1, index}), index >= 5) << index;
  }
}

TEST(SnapshotTest, PagesLieByPositionThenByGroup) {
  const SnapshotSample sample = hybrid();
  SnapshotOrder order(sample.header);
  std::pair<int, int> last = {-1, -1};
  int64_t count = 0;
  for (; const auto page = order.page(); order.advance(), ++count) {
    EXPECT_EQ(order.num_before(), count);
    EXPECT_LT(last, std::pair(page->index, page->group));
    last = {page->index, page->group};
  }
  EXPECT_EQ(count, order.num_pages());
  EXPECT_EQ(count, std::ssize(sample.pages));
}

TEST(SnapshotTest, TruncatedAnywhereItGivesTheLongestPrefixAndSaysWhere) {
  for (const std::vector<int>& windows : {std::vector<int>{0}, {0, 12}, {8}, {3, 40}}) {
    const SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, windows), 3);
    for (size_t size = 0; size < sample.bytes.size(); ++size) {
      const Taken taken = take(sample.bytes.substr(0, size), sample.target());
      ASSERT_EQ(taken.reason.stop, SnapshotStop::truncated);
      ASSERT_NE(taken.reason.text.find("ends at byte " + std::to_string(size)), std::string::npos)
          << taken.reason.text;
      ASSERT_EQ(taken.kv_len, longest_prefix(sample.header, taken.pages, std::ssize(taken.tokens)));
      const auto records = std::upper_bound(sample.record_begins.begin(),
                                            sample.record_begins.end(), size) -
                           sample.record_begins.begin() - 1;
      ASSERT_EQ(std::ssize(taken.pages), std::max<std::ptrdiff_t>(0, records)) << size;
    }
  }
}

TEST(SnapshotTest, WithoutWindowsATruncatedOneGivesItsWholePages) {
  const SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, {0, 0}), 3);
  const Taken taken = take(sample.bytes.substr(0, sample.record_begins[7]), sample.target());
  EXPECT_EQ(taken.tokens, sample.tokens);
  EXPECT_EQ(taken.kv_len, 12);  // three pages of both groups, and a fourth of one
  EXPECT_EQ(taken.reason.text.find("window"), std::string::npos) << taken.reason.text;
}

TEST(SnapshotTest, WithWindowsATruncatedOneGivesTokensOnly) {
  const SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, {0, 12}), 3);
  const Taken taken = take(sample.bytes.substr(0, sample.record_begins[9]), sample.target());
  EXPECT_EQ(taken.tokens, sample.tokens);
  EXPECT_EQ(taken.kv_len, 0);
  EXPECT_NE(
      taken.reason.text.find("no K and V of a shorter prefix can be used, but its tokens can"),
      std::string::npos)
      << taken.reason.text;
}

TEST(SnapshotTest, WhatCouldNotBeReadBackIsNotWritten) {
  SnapshotHeader header = sample_header(4, 0, 0, {0});
  header.groups[0].layout.kind = PageKind::state_at_boundary;
  std::string bytes;
  EXPECT_ERROR(SnapshotWriter(sink_into(bytes), header, {}), UNSUPPORTED, "kind of group 0 is 1");
  EXPECT_EQ(bytes, "");
}

struct Difference {
  std::function<void(SnapshotHeader&)> change;
  SnapshotStop stop;
  const char* words;
};

TEST(SnapshotTest, SaysWhatDiffersFromTheRunningModel) {
  const Difference kDifferences[] = {
      {[](auto& h) { h.model_fingerprint[3] = 'b'; }, SnapshotStop::other_model,
       "the model's fingerprint (of 'a model') is 'aaab"},
      {[](auto& h) { h.numerics_id = "gpu"; }, SnapshotStop::other_numerics,
       "the numerics id is 'gpu'; this engine has 'cpu-1'"},
      {[](auto& h) {
         h = sample_header(8, 37, 33, {0, 12});
       },
       SnapshotStop::other_layout, "the page length is 8; this engine has 4"},
      {[](auto& h) {
         h = sample_header(4, 37, 33, {0, 12, 7});
       },
       SnapshotStop::other_layout, "the number of layer groups is 3; this engine has 2"},
      {[](auto& h) { h.groups[1].window = 13; }, SnapshotStop::other_layout,
       "the window of group 1 is 13; this engine has 12"},
      {[](auto& h) { h.groups[0].layout.planes.pop_back(); }, SnapshotStop::other_layout,
       "the number of planes of group 0 is 3; this engine has 4"},
      {[](auto& h) { h.groups[0].layout.planes[1].layer = 9; }, SnapshotStop::other_layout,
       "the layer of plane 1 of group 0 is 9; this engine has 0"},
      {[](auto& h) { h.groups[0].layout.planes[1].role = PlaneRole::scale; },
       SnapshotStop::other_layout, "the role of plane 1 of group 0 is 2; this engine has 1"},
      {[](auto& h) { h.groups[0].layout.planes[1].first_head = 1; }, SnapshotStop::other_layout,
       "the first head of plane 1 of group 0 is 1; this engine has 0"},
      {[](auto& h) { h.groups[0].layout.planes[1].num_heads = 5; }, SnapshotStop::other_layout,
       "the number of heads of plane 1 of group 0 is 5; this engine has 1"},
      {[](auto& h) { h.groups[0].layout.planes[1].dim = 7; }, SnapshotStop::other_layout,
       "the dim of plane 1 of group 0 is 7; this engine has 2"},
      {[](auto& h) { h.groups[0].layout.planes[1].dtype = DType::F16; }, SnapshotStop::other_layout,
       "the dtype of plane 1 of group 0 is F16; this engine has F32"},
  };
  const SnapshotTarget target = hybrid().target();
  for (const Difference& difference : kDifferences) {
    SnapshotHeader header = sample_header(4, 37, 33, {0, 12});
    difference.change(header);
    for (SnapshotGroup& group : header.groups) group.layout = canonical_layout(group.layout);
    const SnapshotSample sample = make_snapshot(header, 4);
    const Taken taken = take(sample.bytes, target);
    EXPECT_EQ(taken.reason.stop, difference.stop) << taken.reason.text;
    EXPECT_NE(taken.reason.text.find(difference.words), std::string::npos) << taken.reason.text;
    EXPECT_EQ(taken.pages.size(), 0u);
    EXPECT_EQ(taken.kv_len, 0);
    // Tokens are of use wherever the model is the same.
    const bool same_model = difference.stop != SnapshotStop::other_model;
    EXPECT_EQ(taken.tokens, same_model ? sample.tokens : std::vector<TokenId>());
    EXPECT_EQ(verify_snapshot(source_of(sample.bytes)).reason.stop, SnapshotStop::complete);
  }
}

TEST(SnapshotTest, ForeignNumericsCanBeAccepted) {
  const SnapshotSample sample = hybrid();
  SnapshotTarget target = sample.target();
  target.numerics_id = "gpu";
  target.foreign_numerics = ForeignNumerics::accept;
  EXPECT_EQ(take(sample.bytes, target).kv_len, 33);
}

// The header's checksum holds in all of these: somebody wrote them so.
TEST(SnapshotTest, HeadersOutOfRangeAreRefusedByField) {
  const Difference kWrong[] = {
      {[](auto& h) { h.page_len = 0; }, SnapshotStop::damaged_header,
       "page length is 0; expected 1 to 65536"},
      {[](auto& h) { h.num_tokens = int64_t{1} << 31; }, SnapshotStop::damaged_header,
       "number of tokens is 2147483648; expected 0 to 2147483647"},
      {[](auto& h) { h.num_tokens = -1; }, SnapshotStop::damaged_header,
       "number of tokens is 18446744073709551615"},
      {[](auto& h) { h.kv_len = 38; }, SnapshotStop::damaged_header,
       "number of computed positions is 38; expected 0 to 37"},
      {[](auto& h) { h.groups.clear(); }, SnapshotStop::damaged_header,
       "number of groups is 0; expected 1 to"},
      {[](auto& h) { h.groups[1].window = -1; }, SnapshotStop::damaged_header,
       "window of group 1 is 4294967295"},
      {[](auto& h) { h.groups[1].layout.kind = PageKind::state_at_boundary; },
       SnapshotStop::other_layout, "kind of group 1 is 1; expected 0"},
      {[](auto& h) { h.groups[1].layout.page_bytes += 1; }, SnapshotStop::damaged_header,
       "page bytes of group 1 are"},
      {[](auto& h) { h.groups[1].layout.page_bytes = UINT64_MAX; }, SnapshotStop::damaged_header,
       "page bytes of group 1 is 18446744073709551615"},
      {[](auto& h) { h.groups[0].layout.planes.clear(); }, SnapshotStop::damaged_header,
       "planes of group 0 is 0"},
      {[](auto& h) { h.groups[0].layout.planes[2].num_heads = 0; }, SnapshotStop::damaged_header,
       "heads of plane 2 of group 0 is 0"},
      {[](auto& h) { h.groups[0].layout.planes[2].dim = 1 << 21; }, SnapshotStop::damaged_header,
       "dim of plane 2 of group 0 is 2097152"},
      {[](auto& h) { h.groups[0].layout.planes[2].layer = -1; }, SnapshotStop::damaged_header,
       "layer of plane 2 of group 0 is 4294967295"},
      {[](auto& h) { h.groups[0].layout.planes[2].dtype = static_cast<DType>(99); },
       SnapshotStop::other_layout, "dtype of plane 2 of group 0 is 99"},
      {[](auto& h) { h.groups[0].layout.planes[2].dtype = DType::Q8_0; },
       SnapshotStop::other_layout, "dtype of plane 2 of group 0 is 8"},
      {[](auto& h) { h.groups[0].layout.planes[2].role = static_cast<PlaneRole>(6); },
       SnapshotStop::other_layout, "role of plane 2 of group 0 is 6; expected 0 to 5"},
      {[](auto& h) {
         h.page_len = 1 << 16;
         for (auto& plane : h.groups[0].layout.planes) plane.num_heads = plane.dim = 1 << 20;
       },
       SnapshotStop::damaged_header, "the planes of group 0 need more than"},
  };
  for (const Difference& wrong : kWrong) {
    SnapshotHeader header = sample_header(4, 37, 33, {0, 12});
    wrong.change(header);
    const std::string bytes = sealed_header(encode_snapshot_header(header), kSnapshotVersion);
    const SnapshotFacts facts = inspect_snapshot(source_of(bytes));
    EXPECT_FALSE(facts.header);
    EXPECT_EQ(facts.reason.stop, wrong.stop) << facts.reason.text;
    EXPECT_NE(facts.reason.text.find(wrong.words), std::string::npos) << facts.reason.text;
  }
  std::vector<std::byte> long_header = encode_snapshot_header(sample_header(4, 0, 0, {0}));
  long_header.push_back({});
  EXPECT_NE(inspect_snapshot(source_of(sealed_header(long_header, 1)))
                .reason.text.find("1 bytes after its last field"),
            std::string::npos);
  for (size_t size = 0; size + 1 < long_header.size(); ++size) {
    const std::string bytes = sealed_header(std::span(long_header).first(size), kSnapshotVersion);
    EXPECT_EQ(inspect_snapshot(source_of(bytes)).reason.stop, SnapshotStop::damaged_header) << size;
  }
}

TEST(SnapshotTest, OtherFilesAndNewerVersionsAreToldApart) {
  const auto stop_of = [](const std::string& bytes) {
    return inspect_snapshot(source_of(bytes)).reason.stop;
  };
  const std::vector<std::byte> header = encode_snapshot_header(sample_header(4, 0, 0, {0}));
  EXPECT_EQ(stop_of("GGUF and so on"), SnapshotStop::not_a_snapshot);
  EXPECT_EQ(stop_of("GG"), SnapshotStop::not_a_snapshot);
  EXPECT_EQ(stop_of(""), SnapshotStop::truncated);
  EXPECT_EQ(stop_of(sealed_header(header, 1)), SnapshotStop::complete);
  EXPECT_EQ(stop_of(sealed_header(header, 2)), SnapshotStop::newer_version);
  EXPECT_EQ(stop_of(sealed_header(header, 0)), SnapshotStop::damaged_header);
  std::string flipped = sealed_header(header, 1);
  flipped[8] ^= 2;  // version 3, but not by a writer's hand
  EXPECT_EQ(stop_of(flipped), SnapshotStop::damaged_header);
  flipped = sealed_header(header, 1);
  flipped[15] = 1;  // 16 MiB of header
  EXPECT_EQ(stop_of(flipped), SnapshotStop::damaged_header);
}

TEST(SnapshotTest, LongerThanTheModelGivesWhatFits) {
  for (const std::vector<int>& windows : {std::vector<int>{0}, {0, 12}}) {
    const SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, windows), 5);
    for (int64_t max_tokens = 0; max_tokens < 37; ++max_tokens) {
      SnapshotTarget target = sample.target();
      target.max_tokens = max_tokens;
      const Taken taken = take(sample.bytes, target);
      EXPECT_EQ(taken.reason.stop, SnapshotStop::too_long);
      EXPECT_EQ(std::ssize(taken.tokens), max_tokens);
      EXPECT_EQ(taken.kv_len, longest_prefix(sample.header, sample.pages, max_tokens));
      EXPECT_EQ(taken.kv_len, longest_prefix(sample.header, taken.pages, max_tokens));
    }
  }
}

TEST(SnapshotTest, TokensOutsideTheVocabularyEndThePrefix) {
  SnapshotSample sample = make_snapshot(sample_header(4, 37, 33, {0}), 6);
  for (TokenId bad : {-1, 1000, INT32_MAX, INT32_MIN}) {
    std::vector<TokenId> tokens = sample.tokens;
    tokens[21] = bad;
    std::string bytes;
    SnapshotWriter writer(sink_into(bytes), sample.header, tokens);
    while (const auto page = writer.next()) writer.write_page(sample.pages[{0, page->index}]);
    const Taken taken = take(bytes, sample.target());
    EXPECT_EQ(taken.reason.stop, SnapshotStop::damaged_tokens);
    EXPECT_NE(taken.reason.text.find("token 21 is " + std::to_string(bad)), std::string::npos);
    EXPECT_EQ(taken.tokens.size(), 21u);
    EXPECT_EQ(taken.kv_len, 21);
  }
}

TEST(SnapshotTest, ADamagedRunOfTokensLeavesThoseBeforeIt) {
  const SnapshotSample sample = make_snapshot(sample_header(16, 3000, 2999, {0}), 7);
  std::string bytes = sample.bytes;
  bytes[sample.record_begins[0] - 16 - 4] ^= 1;  // the last token
  const Taken taken = take(bytes, sample.target());
  EXPECT_EQ(taken.reason.stop, SnapshotStop::damaged_tokens);
  EXPECT_EQ(taken.tokens.size(), 2048u);
  EXPECT_EQ(taken.kv_len, 2048);
  EXPECT_EQ(taken.pages.size(), 128u);
}

TEST(SnapshotTest, PagesOfAnotherSnapshotOrPlaceAreNoPagesOfThisOne) {
  const SnapshotSample a = make_snapshot(sample_header(4, 16, 16, {0}), 8);
  SnapshotHeader other = a.header;
  other.model_name = "b";
  const SnapshotSample b = make_snapshot(other, 9);
  const size_t record = a.record_begins[1] - a.record_begins[0];
  std::string mixed = a.bytes;
  mixed.replace(a.record_begins[2], record, b.bytes.substr(b.record_begins[2], record));
  EXPECT_EQ(take(mixed, a.target()).reason.stop, SnapshotStop::damaged_page);
  EXPECT_EQ(take(mixed, a.target()).kv_len, 8);

  std::string swapped = a.bytes;
  swapped.replace(a.record_begins[2], record, a.bytes.substr(a.record_begins[1], record));
  const Taken taken = take(swapped, a.target());
  EXPECT_EQ(taken.kv_len, 8);
  EXPECT_NE(taken.reason.text.find("index of page 2 of group 0 (record 2 of 4) is 1; expected 2"),
            std::string::npos)
      << taken.reason.text;
}

TEST(SnapshotTest, ASourceThatLiesAboutItsLengthIsAnError) {
  const SnapshotSource liar = [](std::span<std::byte> bytes) { return bytes.size() + 1; };
  EXPECT_ERROR(SnapshotReader(liar, hybrid().target()), INVALID_ARGUMENT, "it was asked for 8");
}

TEST(SnapshotTest, InspectTellsFactsFromTheHeaderAlone) {
  const SnapshotSample sample = hybrid();
  const size_t head = sealed_header(encode_snapshot_header(sample.header), 1).size();
  const SnapshotFacts facts = inspect_snapshot(source_of(sample.bytes.substr(0, head)));
  ASSERT_TRUE(facts.header) << facts.reason.text;
  EXPECT_EQ(facts.header->model_name, "a model");
  EXPECT_EQ(facts.header->library_version, "0.1.0");
  EXPECT_EQ(facts.header->num_tokens, 37);
  EXPECT_EQ(facts.header->kv_len, 33);
  EXPECT_EQ(facts.num_pages, std::ssize(sample.pages));
  EXPECT_EQ(facts.num_bytes, sample.bytes.size());
}

TEST(SnapshotTest, VerifyCountsWhatIsWholeAndSeesWhatFollows) {
  const SnapshotSample sample = hybrid();
  SnapshotCheck check = verify_snapshot(source_of(sample.bytes));
  EXPECT_EQ(check.reason.stop, SnapshotStop::complete);
  EXPECT_EQ(check.num_tokens, 37);
  EXPECT_EQ(check.num_pages, std::ssize(sample.pages));
  EXPECT_EQ(check.kv_len, 33);

  check = verify_snapshot(source_of(sample.bytes + "x"));
  EXPECT_EQ(check.reason.stop, SnapshotStop::trailing_bytes);
  EXPECT_EQ(check.kv_len, 33);

  std::string damaged = sample.bytes;
  damaged[sample.record_begins[5] - 1] ^= 1;
  check = verify_snapshot(source_of(damaged));
  EXPECT_EQ(check.reason.stop, SnapshotStop::damaged_page);
  EXPECT_EQ(check.num_pages, 4);
  EXPECT_EQ(check.kv_len, 0);  // it has a window
}

TEST(SnapshotTest, GoesThroughAFile) {
  const TempFolder folder;
  const SnapshotSample sample = hybrid();
  const std::string path = folder.path("conversation.kvs");
  {
    ReplacementFile file(path);
    SnapshotWriter writer(snapshot_sink(file), sample.header, sample.tokens);
    while (const auto page = writer.next()) {
      writer.write_page(sample.pages.at({page->group, page->index}));
    }
    file.commit();
  }
  EXPECT_EQ(take(snapshot_source(path), sample.target()).pages, sample.pages);
  EXPECT_EQ(verify_snapshot(snapshot_source(path)).reason.stop, SnapshotStop::complete);
  EXPECT_ERROR(snapshot_source(folder.path("none")), NOT_FOUND, "none");
}

// Made by another writer, in Python, from the description in snapshot_header.h.
TEST(SnapshotTest, VersionOneIsForEver) {
  const SnapshotHeader header = sample_header(4, 3, 3, {0, 2});
  const std::vector<TokenId> tokens = {1, 2, 3};
  std::string bytes;
  SnapshotWriter writer(sink_into(bytes), header, tokens);
  while (const auto page = writer.next()) {
    writer.write_page(std::vector<std::byte>(page->num_bytes));
  }
  Sha256 sha;
  sha.update(std::as_bytes(std::span(bytes)));
  EXPECT_EQ(to_hex(sha.finish()),
            "958e1142d14e131b58696ddcb5ed3f8cdf2c38bdf1aee3ed398242dcd55be627");
}

}  // namespace
}  // namespace kvi
