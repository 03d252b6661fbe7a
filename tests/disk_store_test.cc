#include "cache/disk_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <random>

#include "cache/disk_folder.h"
#include "sim/memory_file_system.h"
#include "support/disk_fixture.h"
#include "support/expect_error.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

struct Found {
  Digest key, parent, scope;
  int first_token;
  std::vector<int32_t> tokens;
  bool operator==(const Found&) const = default;
};
using Index = std::map<std::pair<int, SlotId>, Found>;

Found found_of(const PageRecord& record) {
  return {record.key,
          record.parent,
          record.scope,
          record.first_token,
          {record.tokens.begin(), record.tokens.end()}};
}

DiskFile::Visitor into(Index& index) {
  return [&index](SlotId slot, const PageRecord& record) {
    EXPECT_TRUE(index.emplace(std::pair{record.group, slot}, found_of(record)).second);
  };
}

class DiskStoreTest : public testing::Test {
 protected:
  DiskStoreTest() { memory_->make_folder("/cache"); }

  std::unique_ptr<DiskStore> open(Index* index = nullptr) {
    Index ignored;
    return open_disk(options_, memory_, clock_, into(index == nullptr ? ignored : *index));
  }
  std::string file(int group) const {
    return options_.folder + "/" + DiskStore::file_name(options_.identity, group);
  }

  DiskStoreOptions options_ = disk_options("/cache");
  const std::shared_ptr<MemoryFileSystem> memory_ = std::make_shared<MemoryFileSystem>();
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
};

TEST_F(DiskStoreTest, RestartFindsTheSameIndexAndTheSamePages) {
  const TempFolder temp;
  options_.folder = temp.path("cache");
  const auto files = os_file_system();
  Index written, found;
  {
    auto store = open_disk(options_, files, clock_);
    for (int i = 0; i < 20; ++i) {
      for (int group : {0, 1}) {
        const TestPage page(i, group);
        ASSERT_TRUE(put(*store, 2 * i, page)) << store->stats().last_failure;
        ASSERT_TRUE(holds(*store, 2 * i, page));
        written[{group, 2 * i}] = found_of(page.record());
      }
    }
    store->discard(1, 6);
    written.erase({1, 6});
    ASSERT_TRUE(put(*store, 4, TestPage(100)));
    written[{0, 4}] = found_of(TestPage(100).record());
  }
  auto store = open_disk(options_, files, clock_, into(found));
  EXPECT_EQ(found, written);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(holds(*store, 2 * i, TestPage(i == 2 ? 100 : i, 0)));
    EXPECT_EQ(holds(*store, 2 * i, TestPage(i, 1)), i != 3);
  }
  const TierStats stats = store->stats();
  EXPECT_EQ(stats.num_failures, 0u) << stats.last_failure;
  EXPECT_EQ(stats.used_bytes, 2 * kSector + 20 * kDiskSlotBytes[0] + 19 * kDiskSlotBytes[1]);
}

TEST_F(DiskStoreTest, FilesAreForTheirOwnerOnly) {
  const TempFolder temp;
  options_.folder = temp.path("cache");
  const mode_t before = umask(0);
  auto store = open_disk(options_, os_file_system(), clock_);
  folder_secret(*os_file_system(), options_.folder);
  umask(before);
  struct stat info = {};
  ASSERT_EQ(stat(options_.folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  for (const std::string& path :
       {file(0), file(1), options_.folder + "/lock", options_.folder + "/secret"}) {
    ASSERT_EQ(stat(path.c_str(), &info), 0) << path;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << path;
  }
}

TEST_F(DiskStoreTest, AnyOtherRecordIsAMiss) {
  auto store = open();
  const TestPage page(7);
  ASSERT_TRUE(put(*store, 3, page));
  std::vector<std::byte> bytes(kDiskPageBytes[0]);
  const PageRecord right = page.record();
  std::vector<int32_t> tokens(right.tokens.begin(), right.tokens.end());
  ++tokens.back();

  std::vector<PageRecord> wrong(7, right);
  wrong[0].key[31] ^= 1;
  wrong[1].parent[0] ^= 1;
  wrong[2].scope[5] ^= 1;
  wrong[3].group = 1;
  wrong[4].first_token += 16;
  wrong[5].tokens = tokens;
  wrong[6].tokens = right.tokens.first(right.tokens.size() - 1);
  for (const PageRecord& record : wrong) EXPECT_FALSE(store->read(3, record, bytes));
  for (SlotId slot : {-1, 2, 4, 1 << 20}) EXPECT_FALSE(store->read(slot, right, bytes));
  EXPECT_FALSE(store->read(3, right, std::span(bytes).first(100)));
  EXPECT_EQ(store->stats().num_mismatches, 12u);
  EXPECT_TRUE(holds(*store, 3, page));
}

TEST_F(DiskStoreTest, WhatIsNoPageIsNotWritten) {
  auto store = open();
  PageRecord record = TestPage(1).record();
  std::vector<std::byte> bytes(kDiskPageBytes[0]);
  EXPECT_FALSE(store->write(-1, record, bytes));
  EXPECT_FALSE(store->write(store->num_slots(0), record, bytes));
  EXPECT_FALSE(store->write(0, record, std::span(bytes).first(9'999)));
  record.tokens = {};
  EXPECT_FALSE(store->write(0, record, bytes));
  const std::vector<int32_t> many(17);
  record.tokens = many;
  EXPECT_FALSE(store->write(0, record, bytes));
  record = TestPage(1).record();
  for (int group : {-1, 2}) {
    record.group = group;
    EXPECT_FALSE(store->write(0, record, bytes));
    store->discard(group, 0);
  }
  store->discard(0, -1);
  store->discard(0, store->num_slots(0));
  EXPECT_EQ(store->stats().num_refused, 7u);
  EXPECT_EQ(store->stats().used_bytes, 2 * kSector);
}

TEST_F(DiskStoreTest, BeforeTheScanNothingIsReadOrWritten) {
  ASSERT_TRUE(put(*open(), 0, TestPage(1)));
  auto store = DiskStore::open(options_, memory_, clock_);
  EXPECT_FALSE(holds(*store, 0, TestPage(1)));
  EXPECT_FALSE(put(*store, 1, TestPage(2)));
  store->discard(0, 0);
  store->scan([](SlotId, const PageRecord&) {});
  EXPECT_TRUE(holds(*store, 0, TestPage(1)));
}

TEST_F(DiskStoreTest, EveryFlippedByteIsAMiss) {
  ASSERT_TRUE(put(*open(), 0, TestPage(1)));
  const std::vector<std::byte> right = memory_->content(file(0));
  std::mt19937_64 random(test_seed());
  std::vector<size_t> places;
  for (size_t at = kSector; at < kSector + 300; ++at) places.push_back(at);  // all fields of a slot
  for (int i = 0; i < 300; ++i) places.push_back(random() % right.size());   // and of the rest some
  for (size_t at : places) {
    std::vector<std::byte> damaged = right;
    damaged[at] ^= std::byte{1} << static_cast<int>(random() % 8);
    memory_->set_content(file(0), damaged);
    Index index;
    auto store = open(&index);
    EXPECT_FALSE(holds(*store, 0, TestPage(1))) << "byte " << at;
    // A damaged page is found when it is read; a damaged header at once.
    EXPECT_EQ(index.size(), at >= 2 * kSector ? 1u : 0u) << "byte " << at;
    EXPECT_TRUE(put(*store, 0, TestPage(2)));
    EXPECT_TRUE(holds(*store, 0, TestPage(2)));
  }
}

TEST_F(DiskStoreTest, FileCutAnywhereKeepsWhatIsWholeAndServesAgain) {
  {
    auto store = open();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(put(*store, i, TestPage(i)));
  }
  const std::vector<std::byte> right = memory_->content(file(0));
  for (size_t size = 0; size < right.size(); size += 512) {
    memory_->set_content(file(0), std::span(right).first(size));
    auto store = open();
    for (int i = 0; i < 3; ++i) {
      const uint64_t end = kSector + i * kDiskSlotBytes[0] + kSector + kDiskPageBytes[0];
      EXPECT_EQ(holds(*store, i, TestPage(i)), end <= size) << "slot " << i << ", size " << size;
    }
    EXPECT_TRUE(put(*store, 1, TestPage(9)));
    EXPECT_TRUE(holds(*store, 1, TestPage(9)));
  }
}

TEST_F(DiskStoreTest, FileCutWhileOpenIsAMissAndServesAgain) {
  for (size_t size : {0u, 512u, 4096u, 5000u, 9000u}) {
    auto store = open();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(put(*store, i, TestPage(i)));
    auto other = memory_->open(file(0), OpenMode::write);
    ASSERT_EQ(other.value->truncate(size), 0);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(holds(*store, i, TestPage(i)));
    clock_->advance(60'000'000);
    EXPECT_TRUE(put(*store, 0, TestPage(5)));
    EXPECT_TRUE(holds(*store, 0, TestPage(5)));
    store.reset();
    EXPECT_TRUE(holds(*open(), 0, TestPage(5))) << "cut to " << size;
  }
}

TEST_F(DiskStoreTest, PageInAnotherSlotFileOrGenerationIsAMiss) {
  {
    auto store = open();
    ASSERT_TRUE(put(*store, 0, TestPage(1)));
    ASSERT_TRUE(put(*store, 1, TestPage(2)));
  }
  std::vector<std::byte> bytes = memory_->content(file(0));
  const std::vector<std::byte> first(bytes.begin() + kSector,
                                     bytes.begin() + 2 * kSector + kDiskPageBytes[0]);
  {
    std::ranges::copy(first, bytes.begin() + kSector + kDiskSlotBytes[0]);
    memory_->set_content(file(0), bytes);
    auto store = open();
    EXPECT_TRUE(holds(*store, 0, TestPage(1)));
    EXPECT_FALSE(holds(*store, 1, TestPage(1))) << "a slot copied into another one";
    ASSERT_TRUE(put(*store, 0, TestPage(3)));
  }
  const std::vector<std::byte> second = memory_->content(file(0));
  bytes = second;
  std::copy_n(first.begin(), kSector, bytes.begin() + kSector);
  memory_->set_content(file(0), bytes);
  EXPECT_FALSE(holds(*open(), 0, TestPage(1))) << "the header of an older write";
  bytes = second;
  std::copy(first.begin() + kSector, first.end(), bytes.begin() + 2 * kSector);
  memory_->set_content(file(0), bytes);
  EXPECT_FALSE(holds(*open(), 0, TestPage(3))) << "the page of an older write";
  memory_->set_content(file(0), second);
  EXPECT_TRUE(holds(*open(), 0, TestPage(3)));

  bytes = memory_->content(file(0));
  options_.identity[0] ^= 1;
  memory_->set_content(file(0), bytes);
  Index index;
  open(&index);
  EXPECT_TRUE(index.empty()) << "a file under another model's name";
  EXPECT_EQ(memory_->content(file(0)).size(), kSector);
}

TEST_F(DiskStoreTest, GenerationsGrowAcrossRestarts) {
  const DiskFormat format(options_.identity, 0, options_.groups[0]);
  std::vector<uint64_t> generations;
  for (SlotId slot : {3, 1, 1, 2}) {
    ASSERT_TRUE(put(*open(), slot, TestPage(slot)));
    const std::vector<std::byte> bytes = memory_->content(file(0));
    const auto found = decode_slot_header(
        format, slot, std::span(bytes).subspan(format.offset(slot), format.header_bytes));
    ASSERT_TRUE(found);
    generations.push_back(found->generation);
  }
  EXPECT_EQ(generations, (std::vector<uint64_t>{1, 2, 3, 4}));
}

TEST_F(DiskStoreTest, OtherSizesOfPagesAreAnotherLayout) {
  ASSERT_TRUE(put(*open(), 0, TestPage(1)));
  options_.groups[0].page_len = 32;
  Index index;
  open(&index);
  EXPECT_TRUE(index.empty());
  options_.groups[0] = {10'001, 32};
  EXPECT_TRUE(open(&index) != nullptr);
  EXPECT_TRUE(index.empty());
}

TEST_F(DiskStoreTest, SecondOwnerIsRefusedUntilTheFirstIsGone) {
  const TempFolder temp;
  options_.folder = temp.path("cache");
  auto store = open_disk(options_, os_file_system(), clock_);
  EXPECT_ERROR(DiskStore::open(options_, os_file_system(), clock_), BUSY, options_.folder);
  EXPECT_ERROR(DiskStore::open(options_, os_file_system(), clock_), BUSY,
               "runs without the disk tier");
  ASSERT_TRUE(put(*store, 0, TestPage(1)));
  store.reset();
  EXPECT_TRUE(holds(*open_disk(options_, os_file_system(), clock_), 0, TestPage(1)));
}

TEST_F(DiskStoreTest, WhatIsNoFolderOrNoFileIsRefused) {
  const TempFolder temp;
  const auto files = os_file_system();
  temp.write("file", "x");
  EXPECT_ERROR(DiskStore::open(disk_options(temp.path("file")), files, clock_), INVALID_ARGUMENT,
               temp.path("file"));
  EXPECT_ERROR(DiskStore::open(disk_options(temp.path("a/b")), files, clock_), IO, "must exist");
  EXPECT_ERROR(DiskStore::open(disk_options(temp.path() + std::string("/x\0y", 4)), files, clock_),
               IO, "Invalid argument");

  options_.folder = temp.path();
  std::filesystem::remove(temp.path("lock"));
  for (const std::string& path : {file(1), temp.path("lock")}) {
    std::filesystem::create_symlink(temp.path("file"), path);
    EXPECT_ERROR(DiskStore::open(options_, files, clock_), INVALID_ARGUMENT, path);
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
    EXPECT_ERROR(DiskStore::open(options_, files, clock_), INVALID_ARGUMENT, path);
    std::filesystem::remove(path);
    std::filesystem::remove(temp.path("lock"));
  }
  EXPECT_EQ(std::filesystem::file_size(temp.path("file")), 1u);

  std::filesystem::create_directory_symlink(temp.path(), temp.path("link"));
  options_.folder = temp.path("link");
  EXPECT_TRUE(put(*open_disk(options_, files, clock_), 0, TestPage(1))) << "a folder by a link";
}

TEST_F(DiskStoreTest, CapacityBelowOnePageOfEachGroupIsRefusedWithBothAmounts) {
  const uint64_t least = 2 * kSector + kDiskSlotBytes[0] + kDiskSlotBytes[1];
  options_.capacity_bytes = least - 1;
  EXPECT_ERROR(open(), INVALID_ARGUMENT, std::to_string(least));
  options_.capacity_bytes = least;
  auto store = open();
  EXPECT_EQ(store->num_slots(0), 1);
  EXPECT_TRUE(put(*store, 0, TestPage(1, 0)));
  EXPECT_TRUE(put(*store, 0, TestPage(2, 1)));
}

// Against a map, on file systems with and without holes, with restarts: what is on the disk never takes more
// than the capacity, and where there are holes all of the capacity can be used.
TEST_F(DiskStoreTest, RandomUseAgreesWithAMapAndStaysWithinTheCapacity) {
  std::mt19937_64 random(test_seed());
  for (const bool has_holes : {true, false}) {
    memory_->delete_folder("/cache");
    memory_->has_holes = has_holes;
    options_.capacity_bytes = 150'000;
    Index model;
    auto store = open();
    uint64_t number = 0;
    std::map<std::pair<int, SlotId>, uint64_t> numbers;
    for (int step = 0; step < 5000; ++step) {
      const int group = static_cast<int>(random() % 2);
      const SlotId slot = static_cast<SlotId>(random() % store->num_slots(group));
      const std::pair place = {group, slot};
      const uint64_t used = store->stats().used_bytes;
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
          const TestPage page(++number, group);
          const bool has_room = model.contains(place) ||
                                used + kDiskSlotBytes[group] <= options_.capacity_bytes;
          const bool kept = put(*store, slot, page);
          if (has_holes) {
            ASSERT_EQ(kept, has_room);
          }
          if (!kept) break;
          model[place] = found_of(page.record());
          numbers[place] = number;
          break;
        }
        case 3:
        case 4:
          store->discard(group, slot);
          model.erase(place);
          break;
        case 5:
          if (random() % 16 != 0) break;
          {
            store.reset();
            Index index;
            store = open(&index);
            ASSERT_EQ(index, model);
          }
          break;
        default:
          ASSERT_EQ(holds(*store, slot, TestPage(numbers[place], group)), model.contains(place));
      }
      uint64_t pages = 2 * kSector;
      for (const auto& [at, found] : model) pages += kDiskSlotBytes[at.first];
      if (has_holes) {
        ASSERT_EQ(store->stats().used_bytes, pages);
      } else {
        ASSERT_GE(store->stats().used_bytes, pages);
      }
      ASSERT_LE(store->stats().used_bytes, options_.capacity_bytes);
      ASSERT_LE(memory_->allocated_bytes(), store->stats().used_bytes);
    }
    EXPECT_GT(store->stats().num_refused + number, 1000u);
    EXPECT_EQ(store->stats().num_failures, 0u) << store->stats().last_failure;
  }
}

TEST_F(DiskStoreTest, LoweredCapacityDropsWhatNoLongerFits) {
  for (const bool has_holes : {true, false}) {
    memory_->has_holes = has_holes;
    options_.capacity_bytes = 1 << 20;
    {
      auto store = open();
      for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(put(*store, i, TestPage(i, 0)));
        ASSERT_TRUE(put(*store, i, TestPage(i, 1)));
      }
    }
    options_.capacity_bytes = 200'000;
    Index index;
    auto store = open(&index);
    EXPECT_LE(memory_->allocated_bytes(), 200'000u);
    EXPECT_LE(store->stats().used_bytes, 200'000u);
    EXPECT_GT(index.size(), 10u);
    for (const auto& [place, found] : index) {
      EXPECT_TRUE(holds(*store, place.second, TestPage(place.second, place.first)));
    }
  }
}

TEST_F(DiskStoreTest, FilesOfOtherModelsCountAndGiveWayTheLongestUnusedFirst) {
  options_.capacity_bytes = 300'000;
  const auto use = [&](uint64_t model) {
    DiskStoreOptions other = options_;
    other.identity = test_digest(model, 99);
    EXPECT_TRUE(put(*open_disk(other, memory_, clock_), 0, TestPage(model)));
    return "/cache/" + DiskStore::file_name(other.identity, 0);
  };
  for (uint64_t model = 50; model < 56; ++model) use(model);
  std::vector<std::string> by_use;
  for (uint64_t model : {52, 55, 50, 53, 51, 54}) by_use.push_back(use(model));
  memory_->set_content("/cache/notes.txt", std::vector<std::byte>(100'000));
  const uint64_t notes_bytes = 25 * 4096;

  auto store = open();
  const uint64_t foreign = 6 * (2 * kSector + kDiskSlotBytes[0]);
  EXPECT_EQ(store->stats().used_bytes, foreign + 2 * kSector);
  size_t num_deleted = 0;
  SlotId slot = 0;
  for (; put(*store, slot, TestPage(slot)); ++slot) {
    ASSERT_LE(memory_->allocated_bytes() - notes_bytes, options_.capacity_bytes);
    const size_t before = num_deleted;
    while (num_deleted < by_use.size() && !memory_->exists(by_use[num_deleted])) ++num_deleted;
    for (size_t i = num_deleted; i < by_use.size(); ++i) {
      ASSERT_TRUE(memory_->exists(by_use[i])) << i << " went before " << num_deleted;
    }
    if (num_deleted > before) {
      EXPECT_GT(store->stats().used_bytes + kDiskSlotBytes[0] + kSector, options_.capacity_bytes)
          << "deleted before it was necessary";
    }
  }
  EXPECT_EQ(num_deleted, by_use.size());
  EXPECT_EQ(slot, store->num_slots(0));
  EXPECT_TRUE(memory_->exists("/cache/notes.txt"));
  for (SlotId kept = 0; kept < slot; ++kept) EXPECT_TRUE(holds(*store, kept, TestPage(kept)));
}

TEST_F(DiskStoreTest, SecretStaysAndAnUnfinishedOneIsMadeAnew) {
  const auto secret = folder_secret(*memory_, "/cache");
  EXPECT_EQ(folder_secret(*memory_, "/cache"), secret);
  EXPECT_NE(folder_secret(*memory_, "/other"), secret);
  for (size_t size : {0u, 31u, 32u, 33u}) {
    memory_->set_content("/cache/secret", std::vector<std::byte>(size));
    const auto made = folder_secret(*memory_, "/cache");
    EXPECT_NE(made, secret);
    EXPECT_NE(made, (std::array<uint8_t, 32>{}));
    EXPECT_EQ(folder_secret(*memory_, "/cache"), made);
  }
  memory_->set_content("/cache/secret", {});
  const auto maker = lock_file(*memory_, "/cache/secret");
  EXPECT_ERROR(folder_secret(*memory_, "/cache"), BUSY, "/cache/secret");
  const TempFolder temp;
  std::filesystem::create_symlink("/etc/passwd", temp.path("secret"));
  EXPECT_ERROR(folder_secret(*os_file_system(), temp.path()), INVALID_ARGUMENT, "regular file");
}

}  // namespace
}  // namespace kvi
