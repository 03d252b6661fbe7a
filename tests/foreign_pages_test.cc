#include "cache/foreign_pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "sim/faulty_file_system.h"
#include "sim/memory_file_system.h"
#include "support/disk_fixture.h"

namespace kvi {
namespace {

using Tokens = std::vector<TokenId>;

const CacheIdentity kOurs = {"llama", "pages of 16", "int8", ""};
constexpr const char* kFolder = "/cache";

// Engines that used the folder one after another, each with an identity and a page length of its own.
class ForeignPagesTest : public testing::Test {
 protected:
  ForeignPagesTest() {
    memory_->make_folder(kFolder);
    std::iota(tokens_.begin(), tokens_.end(), 1000);
  }

  static DiskStoreOptions options_of(const CacheIdentity& identity, int page_len) {
    DiskStoreOptions options = disk_options(kFolder);
    options.identity = root_digest(identity);
    options.parts = identity_parts(identity);
    for (TierGroup& group : options.groups) group.page_len = page_len;
    return options;
  }

  // Leaves the pages [first, end) of tokens_ in the folder; those before num_shared in the shared scope.
  std::string leave(const CacheIdentity& identity, int page_len = 16, int end = 4,
                    int num_shared = 0, int first = 0, int group = 0) {
    const DiskStoreOptions options = options_of(identity, page_len);
    auto store = open_disk(options, memory_, clock_);
    Digest key = enter_scope(options.identity, num_shared > 0 ? kSharedScope : salt_);
    for (int page = 0; page < end; ++page) {
      if (page > 0 && page == num_shared) key = enter_scope(key, salt_);
      const Digest parent = key;
      const auto tokens = std::span(tokens_).subspan(page * page_len, page_len);
      key = page_key(parent, tokens);
      if (page < first) continue;
      const PageRecord record = {key, parent, salt_, group, page * page_len, tokens};
      EXPECT_TRUE(store->write(page, record, page_of_key(key, kDiskPageBytes[group])));
    }
    return std::string(kFolder) + "/" + DiskStore::file_name(options.identity, group);
  }

  MissReason ask(ForeignPages& pages, int position = 0, const Tokens* tokens = nullptr) {
    return pages.why_missing(salt_, tokens == nullptr ? tokens_ : *tokens, position);
  }
  MissReason ask(int position = 0) {
    ForeignPages pages = make();
    return ask(pages, position);
  }
  ForeignPages make(std::shared_ptr<FileSystem> files = nullptr) {
    return ForeignPages(kFolder, root_digest(kOurs), identity_parts(kOurs),
                        files == nullptr ? memory_ : std::move(files), clock_);
  }

  Tokens tokens_ = Tokens(256);
  Digest salt_ = test_digest(1, 5);
  const std::shared_ptr<MemoryFileSystem> memory_ = std::make_shared<MemoryFileSystem>();
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
};

TEST_F(ForeignPagesTest, ReasonIsTheFirstPartThatDiffers) {
  EXPECT_EQ(ask(), MissReason::never_seen) << "an empty folder";
  leave(kOurs);
  EXPECT_EQ(ask(), MissReason::never_seen) << "our own files are the index's";
  leave({"gemma", "pages of 64", "f32", ""}, 64, 2);
  EXPECT_EQ(ask(), MissReason::model);
  leave({"llama", "pages of 32", "f32", ""}, 32);
  EXPECT_EQ(ask(), MissReason::layout) << "nearer than another model";
  leave({"llama", "pages of 16", "f32", ""});
  EXPECT_EQ(ask(), MissReason::numerics) << "nearer than another layout";
}

TEST_F(ForeignPagesTest, AnotherAdapterIsAnotherModel) {
  leave({"llama", "pages of 16", "int8", "adapter"});
  EXPECT_EQ(ask(), MissReason::model);
}

TEST_F(ForeignPagesTest, ThePageThatHasThePositionIsAskedFor) {
  leave({"llama", "pages of 32", "int8", ""}, 32, 3);  // tokens 0 to 95
  ForeignPages pages = make();
  for (int position : {0, 16, 31, 32, 90, 95}) {
    EXPECT_EQ(ask(pages, position), MissReason::layout) << position;
  }
  for (int position : {96, 97, 255}) {
    EXPECT_EQ(ask(pages, position), MissReason::never_seen) << position;
  }
  const Tokens cut(tokens_.begin(), tokens_.begin() + 31);
  EXPECT_EQ(ask(pages, 0, &cut), MissReason::never_seen) << "not a whole page of theirs";
  for (int changed : {0, 40, 63}) {
    Tokens other = tokens_;
    other[changed] ^= 1;
    EXPECT_EQ(ask(pages, 32, &other), MissReason::never_seen) << "token " << changed;
    EXPECT_EQ(ask(pages, 0, &other), changed < 32 ? MissReason::never_seen : MissReason::layout);
  }
}

TEST_F(ForeignPagesTest, WindowPagesAreFoundThoughThoseBeforeThemAreGone) {
  leave({"gemma", "windows", "int8", ""}, 16, 8, 0, 6, 1);
  EXPECT_EQ(ask(0), MissReason::never_seen);
  EXPECT_EQ(ask(100), MissReason::model);
}

TEST_F(ForeignPagesTest, OtherTenantsDoNotSeeIt) {
  leave({"gemma", "pages of 16", "int8", ""});
  EXPECT_EQ(ask(), MissReason::model);
  salt_ = test_digest(2, 5);
  EXPECT_EQ(ask(), MissReason::never_seen);
}

TEST_F(ForeignPagesTest, TheOperatorsPrefixIsEverybodysAndATenantsTextGoesOnBehindIt) {
  leave({"gemma", "pages of 16", "int8", ""}, 16, 5, 3);
  for (int position : {0, 47, 48, 79}) EXPECT_EQ(ask(position), MissReason::model) << position;
  EXPECT_EQ(ask(80), MissReason::never_seen);
  salt_ = test_digest(2, 5);
  EXPECT_EQ(ask(47), MissReason::model);
  EXPECT_EQ(ask(48), MissReason::never_seen);
}

TEST_F(ForeignPagesTest, DeletedFilesAreNotThere) {
  const std::string path = leave({"gemma", "pages of 16", "int8", ""});
  ForeignPages pages = make();
  EXPECT_EQ(ask(pages), MissReason::model);
  memory_->unlink(path);
  EXPECT_EQ(ask(pages), MissReason::never_seen);
}

TEST_F(ForeignPagesTest, DamagedFilesHoldNothing) {
  const std::string path = leave({"gemma", "pages of 16", "int8", ""}, 16, 1);
  const std::vector<std::byte> right = memory_->content(path);
  for (size_t size :
       {size_t{0}, size_t{100}, kSector - 1, kSector, kSector + 160, 2 * kSector - 1}) {
    memory_->set_content(path, std::span(right).first(size));
    EXPECT_EQ(ask(), MissReason::never_seen) << "cut to " << size;
  }
  for (size_t at = 0; at < 2 * kSector; at += at % kSector < 400 ? 1 : 97) {
    std::vector<std::byte> bytes = right;
    bytes[at] ^= std::byte{1};
    memory_->set_content(path, bytes);
    EXPECT_EQ(ask(), MissReason::never_seen) << "byte " << at;
  }
  memory_->set_content(path, right);
  EXPECT_EQ(ask(), MissReason::model);
}

TEST_F(ForeignPagesTest, FilesOfAnotherVersionAreNotMisread) {
  const std::string path = leave({"gemma", "pages of 16", "int8", ""}, 16, 1);
  std::vector<std::byte> bytes = memory_->content(path);
  const DiskStoreOptions options = options_of({"gemma", "pages of 16", "int8", ""}, 16);
  for (uint32_t version : {0u, 1u, 3u}) {
    constexpr size_t kVersionAt = 8, kChecksumAt = 168, kHeaderSize = 184;
    std::memcpy(&bytes[kVersionAt], &version, sizeof version);
    std::memset(&bytes[kChecksumAt], 0, 16);
    const Checksum sum = checksum(std::span(bytes).first(kHeaderSize), 0);
    std::memcpy(&bytes[kChecksumAt], sum.data(), sizeof sum);
    memory_->set_content(path, bytes);
    EXPECT_FALSE(decode_file_header(std::span(bytes).first(kSector)));
    EXPECT_EQ(ask(), MissReason::never_seen);
  }
  int num_pages = 0;
  const auto store = open_disk(options, memory_, clock_,
                               [&](SlotId, const PageRecord&) { ++num_pages; });
  EXPECT_EQ(num_pages, 0);
  EXPECT_EQ(memory_->content(path).size(), kSector) << "its space is given back";
}

TEST_F(ForeignPagesTest, EveryFileCallMayFailOnceAndForEver) {
  leave({"gemma", "pages of 16", "int8", ""}, 16, 2);
  const auto faulty = std::make_shared<FaultyFileSystem>(memory_);
  ForeignPages undisturbed = make(faulty);
  EXPECT_EQ(ask(undisturbed, 16), MissReason::model);
  const int64_t num_calls = faulty->num_calls();
  EXPECT_GT(num_calls, 5);
  using Kind = Fault::Kind;
  for (Kind kind : {Kind::error, Kind::too_short, Kind::bit_flip, Kind::vanish}) {
    for (int64_t nth = 1; nth <= num_calls; ++nth) {
      for (bool for_ever : {false, true}) {
        faulty->reset();
        faulty->inject({.kind = kind, .nth = nth, .for_ever = for_ever});
        ForeignPages pages = make(faulty);
        const MissReason reason = ask(pages, 16);
        EXPECT_TRUE(reason == MissReason::never_seen || reason == MissReason::model);
        if (kind == Kind::too_short) {
          EXPECT_EQ(reason, MissReason::model);
        }
        if (kind == Kind::error && for_ever) {
          EXPECT_EQ(reason, MissReason::never_seen);
        }
      }
    }
  }
}

TEST_F(ForeignPagesTest, HugeFilesAreReadWithinBounds) {
  const DiskStoreOptions options = options_of({"gemma", "pages of 16", "int8", ""}, 16);
  const std::string path = leave({"gemma", "pages of 16", "int8", ""}, 16, 2);
  auto file = memory_->open(path, OpenMode::write);
  ASSERT_EQ(file.value->truncate(uint64_t{1} << 50), 0);
  EXPECT_EQ(ask(16), MissReason::model);

  // What takes too long is not read further.
  class SlowClock final : public Clock {
   public:
    int64_t now_us() override { return now_us_ += 150'000; }

   private:
    int64_t now_us_ = 0;
  };
  ForeignPages slow(kFolder, root_digest(kOurs), identity_parts(kOurs), memory_,
                    std::make_shared<SlowClock>());
  EXPECT_EQ(ask(slow, 0), MissReason::model);
  EXPECT_EQ(ask(slow, 16), MissReason::never_seen);
}

}  // namespace
}  // namespace kvi
