// A process that writes into the disk tier is killed at any point, over and over.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <random>

#include "sim/manual_clock.h"
#include "support/crash_store.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

// Runs the writer until it is killed some time after all slots were in use.
void write_and_kill(const std::string& folder, uint64_t seed, useconds_t microseconds) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[1]);
  std::string path = KVINFER_DISK_WRITER, folder_argument = folder,
              seed_argument = std::to_string(seed);
  char* arguments[] = {path.data(), folder_argument.data(), seed_argument.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, path.c_str(), &actions, nullptr, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  char ready = 0;
  EXPECT_EQ(read(pipe_ends[0], &ready, 1), 1) << "the writer ended by itself";
  close(pipe_ends[0]);
  usleep(microseconds);
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// A kill loses no page but the one that was being written, and none is ever wrong.
TEST(DiskCrashTest, WriterKilledTwoHundredTimesLeavesNoWrongPage) {
  const uint64_t seed = test_seed();
  const TempFolder temp;
  const std::string folder = temp.path("cache");
  int64_t num_right = 0, num_torn = 0;
  for (int i = 0; i < 200; ++i) {
    const useconds_t delay = random_bits(seed, 2 * i) % 3000;
    write_and_kill(folder, random_bits(seed, 2 * i + 1), delay);
    if (HasFatalFailure()) return;

    auto store = DiskStore::open(crash_options(folder), os_file_system(),
                                 std::make_shared<ManualClock>());
    struct Found {
      SlotId slot;
      PageRecord record;
      std::vector<int32_t> tokens;
    };
    std::vector<Found> found;
    store->scan([&](SlotId slot, const PageRecord& record) {
      found.push_back({slot, record, {record.tokens.begin(), record.tokens.end()}});
    });
    ASSERT_GE(found.size(), 2 * kCrashSlots - 1u) << "after kill " << i;
    num_torn += 2 * kCrashSlots - static_cast<int>(found.size());
    for (Found& page : found) {
      page.record.tokens = page.tokens;
      std::vector<std::byte> bytes(kCrashPageBytes[page.record.group]);
      ASSERT_TRUE(store->read(page.slot, page.record, bytes)) << "after kill " << i;
      ASSERT_EQ(bytes, page_of_key(page.record.key, bytes.size())) << "after kill " << i;
      ++num_right;
    }
    ASSERT_EQ(store->stats().num_failures, 0u) << store->stats().last_failure;
  }
  std::printf("200 kills: %lld pages were right, %lld torn\n", static_cast<long long>(num_right),
              static_cast<long long>(num_torn));
}

}  // namespace
}  // namespace kvi
