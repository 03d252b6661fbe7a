// The disk tier when calls of the system fail: each in turn, once and for ever, and as disks really do.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "cache/disk_folder.h"
#include "sim/faulty_file_system.h"
#include "sim/memory_file_system.h"
#include "support/disk_fixture.h"
#include "support/seed.h"

namespace kvi {
namespace {

constexpr uint64_t kCapacity = 150'000;
constexpr int64_t kMinuteUs = 60'000'000;

class DiskFaultTest : public testing::Test {
 protected:
  DiskFaultTest() { memory_->make_folder("/cache"); }

  uint64_t bytes_on_disk() const { return memory_->allocated_bytes(); }

  const DiskStoreOptions options_ = disk_options("/cache", kCapacity);
  const uint64_t seed_ = test_seed();
  const std::shared_ptr<MemoryFileSystem> memory_ = std::make_shared<MemoryFileSystem>();
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  const std::shared_ptr<FaultyFileSystem> files_ = std::make_shared<FaultyFileSystem>(
      memory_, seed_, clock_);
};

TEST_F(DiskFaultTest, FullDiskRestsAndIsTriedAgainLaterAndLater) {
  auto store = open_disk(options_, files_, clock_);
  ASSERT_TRUE(put(*store, 0, TestPage(0)));
  memory_->disk_bytes = bytes_on_disk() + kSector;
  EXPECT_FALSE(put(*store, 1, TestPage(1)));
  EXPECT_EQ(store->stats().last_failure, "'/cache/" + DiskStore::file_name(options_.identity, 0) +
                                             "': write: No space left on device");
  EXPECT_TRUE(store->stats().resting);
  EXPECT_EQ(store->stats().used_bytes, 2 * kSector + kDiskSlotBytes[0]) << "half a page stays";
  EXPECT_TRUE(holds(*store, 0, TestPage(0))) << "reads go on";

  int64_t rest_us = 1'000'000;
  for (int i = 0; i < 8; ++i, rest_us = std::min(2 * rest_us, kMinuteUs)) {
    const int64_t calls = files_->num_calls(FileCall::write);
    clock_->advance(rest_us - 1);
    EXPECT_FALSE(put(*store, 1, TestPage(1)));
    EXPECT_EQ(files_->num_calls(FileCall::write), calls) << "it was to rest for " << rest_us;
    clock_->advance(1);
    EXPECT_FALSE(put(*store, 1, TestPage(1)));
    EXPECT_GT(files_->num_calls(FileCall::write), calls);
  }
  memory_->disk_bytes = ~uint64_t{0};
  clock_->advance(kMinuteUs);
  EXPECT_TRUE(put(*store, 1, TestPage(1)));
  EXPECT_TRUE(holds(*store, 1, TestPage(1)));
  EXPECT_FALSE(store->stats().resting);
  EXPECT_EQ(store->stats().num_refused, 8u);
}

TEST_F(DiskFaultTest, DiskThatBecameReadOnlyIsStillRead) {
  { ASSERT_TRUE(put(*open_disk(options_, files_, clock_), 0, TestPage(0))); }
  for (FileCall call : {FileCall::write, FileCall::truncate, FileCall::punch_hole}) {
    files_->inject({.call = call, .for_ever = true, .error = EROFS});
  }
  auto store = DiskStore::open(options_, files_, clock_);
  EXPECT_EQ(store->stats().num_failures, 2u) << "both files";
  files_->reset();
  store.reset();
  store = open_disk(options_, files_, clock_);
  files_->inject({.call = FileCall::write, .for_ever = true, .error = EROFS});
  EXPECT_FALSE(put(*store, 1, TestPage(1)));
  EXPECT_NE(store->stats().last_failure.find("Read-only file system"), std::string::npos);
  EXPECT_TRUE(holds(*store, 0, TestPage(0)));
}

TEST_F(DiskFaultTest, DeletedFilesGiveTheirSpaceBackAndAreMadeAnew) {
  auto store = open_disk(options_, files_, clock_);
  ASSERT_TRUE(put(*store, 0, TestPage(0, 0)));
  ASSERT_TRUE(put(*store, 0, TestPage(1, 1)));
  const std::string path = "/cache/" + DiskStore::file_name(options_.identity, 0);
  ASSERT_EQ(memory_->unlink(path), 0);
  EXPECT_FALSE(holds(*store, 0, TestPage(0, 0)));
  EXPECT_EQ(store->stats().used_bytes, kSector + kDiskSlotBytes[1]);
  EXPECT_TRUE(holds(*store, 0, TestPage(1, 1)));
  EXPECT_TRUE(put(*store, 2, TestPage(2, 0)));
  EXPECT_TRUE(holds(*store, 2, TestPage(2, 0)));
  EXPECT_TRUE(memory_->exists(path));

  memory_->set_content("/cache/new", std::vector<std::byte>(20'000, std::byte{7}));
  ASSERT_EQ(memory_->rename("/cache/new", path), 0);
  EXPECT_FALSE(holds(*store, 2, TestPage(2, 0))) << "replaced";
  EXPECT_TRUE(put(*store, 2, TestPage(3, 0)));
  EXPECT_TRUE(holds(*store, 2, TestPage(3, 0)));
  EXPECT_EQ(store->stats().num_failures, 0u) << store->stats().last_failure;
}

TEST_F(DiskFaultTest, VanishedFolderIsNotMadeAgainAndServesWhenItIsBack) {
  auto store = open_disk(options_, files_, clock_);
  ASSERT_TRUE(put(*store, 0, TestPage(0)));
  memory_->delete_folder("/cache");
  EXPECT_FALSE(holds(*store, 0, TestPage(0)));
  EXPECT_FALSE(put(*store, 0, TestPage(0)));
  EXPECT_FALSE(memory_->info("/cache").ok());
  EXPECT_NE(store->stats().last_failure.find("No such file"), std::string::npos);
  memory_->make_folder("/cache");
  clock_->advance(kMinuteUs);
  EXPECT_TRUE(put(*store, 0, TestPage(1)));
  EXPECT_TRUE(holds(*store, 0, TestPage(1)));
  store.reset();
  EXPECT_TRUE(holds(*open_disk(options_, files_, clock_), 0, TestPage(1)));
}

TEST_F(DiskFaultTest, OwnerWhoseLockWasDeletedGivesWayToTheNextOne) {
  auto first = open_disk(options_, files_, clock_);
  ASSERT_TRUE(put(*first, 0, TestPage(0)));
  ASSERT_EQ(memory_->unlink("/cache/lock"), 0);
  auto second = open_disk(options_, files_, clock_);
  ASSERT_TRUE(put(*second, 1, TestPage(1)));
  EXPECT_FALSE(put(*first, 1, TestPage(2)));
  EXPECT_FALSE(holds(*first, 1, TestPage(1)));
  EXPECT_NE(first->stats().last_failure.find("/cache/lock"), std::string::npos);
  EXPECT_TRUE(holds(*second, 1, TestPage(1)));
  second.reset();
  clock_->advance(kMinuteUs);
  EXPECT_TRUE(put(*first, 1, TestPage(2)));
  EXPECT_TRUE(holds(*first, 1, TestPage(2)));
  EXPECT_FALSE(holds(*first, 0, TestPage(0))) << "what the other left is not trusted";
  EXPECT_LE(bytes_on_disk(), kCapacity);
}

TEST_F(DiskFaultTest, SlowDiskIsOnlySlow) {
  files_->inject({.kind = Fault::Kind::delay, .for_ever = true, .delay_us = 10'000'000});
  auto store = open_disk(options_, files_, clock_);
  EXPECT_TRUE(put(*store, 0, TestPage(0)));
  EXPECT_TRUE(holds(*store, 0, TestPage(0)));
}

// One life of a tier over a disk: two sessions, each writing, overwriting, reading and discarding in both
// groups until the capacity is reached. Whatever fails, no wrong page is read (`holds` checks), and the files
// take no more of the disk than the capacity.
class DiskLife {
 public:
  DiskLife(const DiskStoreOptions& options, std::shared_ptr<FaultyFileSystem> files,
           std::shared_ptr<MemoryFileSystem> memory, std::shared_ptr<ManualClock> clock)
      : options_(options),
        files_(std::move(files)),
        memory_(std::move(memory)),
        clock_(std::move(clock)) {}

  // How many reads were hits.
  int run() {
    int hits = 0;
    for (uint64_t session = 0; session < 2; ++session) {
      try {
        hits += run_session(100 * session);
      } catch (const Error& error) {
        EXPECT_NE(error.status(), Status::INTERNAL) << error.message();
      }
    }
    return hits;
  }

 private:
  int run_session(uint64_t number) {
    int hits = 0;
    std::vector<std::pair<SlotId, PageRecord>> found;
    std::vector<std::vector<int32_t>> tokens;
    auto store = open_disk(options_, files_, clock_, [&](SlotId slot, const PageRecord& record) {
      tokens.emplace_back(record.tokens.begin(), record.tokens.end());
      found.emplace_back(slot, record);
      found.back().second.tokens = tokens.back();
    });
    check(*store);
    for (const auto& [slot, record] : found) hits += holds(*store, slot, record);
    for (SlotId slot = 0; slot < 8; ++slot) {
      for (int group : {0, 1}) {
        put(*store, slot, TestPage(number + slot, group));
        check(*store);
      }
      if (slot % 3 == 2) {
        put(*store, slot - 1, TestPage(number + slot + 50));
        store->discard(1, slot - 2);
        store->discard(0, slot);
        check(*store);
      }
      clock_->advance(kMinuteUs);  // so that one failure does not hide the next
    }
    for (SlotId slot = 0; slot < 8; ++slot) {
      for (int group : {0, 1}) hits += holds(*store, slot, TestPage(number + slot, group));
      hits += holds(*store, slot, TestPage(number + slot + 51));
    }
    check(*store);
    return hits;
  }

  void check(const DiskStore& store) const {
    const TierStats stats = store.stats();
    EXPECT_LE(memory_->allocated_bytes(), options_.capacity_bytes);
    EXPECT_EQ(stats.last_failure.empty(), stats.num_failures == 0);
  }

  const DiskStoreOptions& options_;
  const std::shared_ptr<FaultyFileSystem> files_;
  const std::shared_ptr<MemoryFileSystem> memory_;
  const std::shared_ptr<ManualClock> clock_;
};

TEST_F(DiskFaultTest, EveryCallFailsInTurnOnceAndForEver) {
  const int best = DiskLife(options_, files_, memory_, clock_).run();
  EXPECT_GT(best, 20);
  const int64_t num_calls = files_->num_calls();
  const int64_t num_writes = files_->num_calls(FileCall::write);
  const int64_t num_reads = files_->num_calls(FileCall::read);
  ASSERT_EQ(files_->num_faults(), 0);

  std::vector<Fault> faults;
  for (int64_t nth = 1; nth <= num_calls; ++nth) {
    for (bool for_ever : {false, true}) {
      faults.push_back({.nth = nth, .for_ever = for_ever, .error = EIO});
      faults.push_back({.nth = nth, .for_ever = for_ever, .error = ENOSPC});
      faults.push_back({.kind = Fault::Kind::too_short, .nth = nth, .for_ever = for_ever});
    }
    faults.push_back({.nth = nth, .error = EOPNOTSUPP});
    faults.push_back({.kind = Fault::Kind::vanish, .nth = nth});
  }
  for (int64_t nth = 1; nth <= num_writes; ++nth) {
    for (bool for_ever : {false, true}) {
      faults.push_back({.kind = Fault::Kind::bit_flip,
                        .call = FileCall::write,
                        .nth = nth,
                        .for_ever = for_ever});
    }
    faults.push_back({.kind = Fault::Kind::torn, .call = FileCall::write, .nth = nth});
  }
  for (int64_t nth = 1; nth <= num_reads; ++nth) {
    for (bool for_ever : {false, true}) {
      faults.push_back({.kind = Fault::Kind::bit_flip,
                        .call = FileCall::read,
                        .nth = nth,
                        .for_ever = for_ever});
    }
  }

  int64_t hits = 0;
  for (const Fault& fault : faults) {
    SCOPED_TRACE("kind " + std::to_string(static_cast<int>(fault.kind)) + ", call " +
                 std::to_string(static_cast<int>(fault.call)) + ", nth " +
                 std::to_string(fault.nth) + (fault.for_ever ? " for ever" : " once") + ", errno " +
                 std::to_string(fault.error));
    memory_->delete_folder("/cache");
    files_->reset();
    files_->inject(fault);
    hits += DiskLife(options_, files_, memory_, clock_).run();

    // When the fault is over, nothing of it is left.
    files_->reset();
    auto store = open_disk(options_, files_, clock_);
    for (SlotId slot = 0; slot < 8; ++slot) {
      for (int group : {0, 1}) store->discard(group, slot);
    }
    ASSERT_EQ(store->stats().used_bytes, 2 * kSector);
    for (SlotId slot = 0; slot < store->num_slots(0); ++slot) {
      ASSERT_TRUE(put(*store, slot, TestPage(1000 + slot)));
      ASSERT_TRUE(holds(*store, slot, TestPage(1000 + slot)));
    }
    ASSERT_EQ(store->stats().num_failures, 0u) << store->stats().last_failure;
    ASSERT_LE(memory_->allocated_bytes(), store->stats().used_bytes);
    if (HasFailure()) return;
  }
  std::printf("%lld calls, %zu faults, %lld came true, %lld of %lld reads were hits\n",
              static_cast<long long>(num_calls), faults.size(),
              static_cast<long long>(files_->num_faults()), static_cast<long long>(hits),
              static_cast<long long>(best * static_cast<int64_t>(faults.size())));
  EXPECT_GE(files_->num_faults(), static_cast<int64_t>(faults.size()) / 2);
  EXPECT_GT(hits, best * static_cast<int64_t>(faults.size()) / 4) << "faults cost too much";
}

TEST_F(DiskFaultTest, EveryCallOfTheSecretFailsInTurnAndNoHalfSecretIsUsed) {
  folder_secret(*files_, "/cache");
  const int64_t num_calls = files_->num_calls();
  for (int64_t nth = 1; nth <= num_calls; ++nth) {
    for (const Fault::Kind kind : {Fault::Kind::error, Fault::Kind::torn, Fault::Kind::too_short}) {
      SCOPED_TRACE(nth);
      memory_->delete_folder("/cache");
      files_->reset();
      const bool is_torn = kind == Fault::Kind::torn;
      files_->inject({.kind = kind, .call = is_torn ? FileCall::write : FileCall::any, .nth = nth});
      std::optional<std::array<uint8_t, 32>> first;
      try {
        first.emplace(folder_secret(*files_, "/cache"));
      } catch (const Error& error) {
        EXPECT_EQ(error.status(), Status::IO) << error.message();
      }
      files_->reset();
      const auto second = folder_secret(*files_, "/cache");
      EXPECT_NE(second, (std::array<uint8_t, 32>{}));
      if (first) {
        EXPECT_EQ(*first, second);
      }
      EXPECT_EQ(folder_secret(*files_, "/cache"), second);
    }
  }
}

}  // namespace
}  // namespace kvi
