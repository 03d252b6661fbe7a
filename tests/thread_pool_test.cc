#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace kvi {
namespace {

TEST(ThreadPoolTest, EveryPieceRunsOnce) {
  for (int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    for (int64_t num_pieces : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(num_pieces);
      pool.run(num_pieces, [&](int64_t piece, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, num_threads);
        ++runs[piece];
      });
      for (auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPoolTest, WritesOfALoopAreSeenAfterIt) {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int round = 1; round <= 20000; ++round) {
    pool.run(64, [&](int64_t piece, int) { values[piece] += 1; });
    ASSERT_EQ(values[round % 64], round);
  }
}

TEST(ThreadPoolTest, SleepingWorkersWakeForTheNextLoop) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run(100, [&](int64_t, int) { ++sum; });
  }
  EXPECT_EQ(sum, 500);
}

}  // namespace
}  // namespace kvi
