#include "sched/scheduler.h"

#include <gtest/gtest.h>

namespace kvi {
namespace {

constexpr int kPageLen = 16;
constexpr uint64_t kPageBytes = 4096;

class SchedulerTest : public testing::Test {
 protected:
  explicit SchedulerTest(int num_pages = 1000)
      : cache_({{layout(), 0}}, {.budget_bytes = num_pages * kPageBytes, .eviction_policy = "lru"},
               reserve_host_memory) {}
  ~SchedulerTest() override { cache_.check_invariants(); }

  static PageLayout layout() {
    PageLayout layout;
    layout.page_len = kPageLen;
    layout.page_bytes = kPageBytes;
    return layout;
  }
  SchedSequence& add(int num_tokens) {
    pages_.push_back(std::make_unique<SequencePages>(cache_.make_sequence()));
    sequences_.push_back(
        std::make_unique<SchedSequence>(SchedSequence{pages_.back().get(), num_tokens}));
    return *sequences_.back();
  }
  void commit(const Step& step) {
    for (const StepItem& item : step.items) cache_.commit(*item.sequence->pages, item.num_tokens);
  }
  void finish(Scheduler& scheduler, SchedSequence& sequence) {
    scheduler.remove(sequence);
    cache_.release(*sequence.pages);
  }

  CacheManager cache_;
  std::vector<std::unique_ptr<SequencePages>> pages_;
  std::vector<std::unique_ptr<SchedSequence>> sequences_;
};

TEST_F(SchedulerTest, LongPromptIsPrefilledInChunks) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& prompt = add(250);
  ASSERT_TRUE(scheduler.enqueue(prompt));
  for (int expected : {100, 100, 50}) {
    Step step = scheduler.schedule();
    ASSERT_EQ(step.items.size(), 1u);
    EXPECT_EQ(step.items[0].num_tokens, expected);
    commit(step);
  }
}

TEST_F(SchedulerTest, ShortPromptDoesNotWaitForTheEndOfALongOne) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& long_prompt = add(1000);
  scheduler.enqueue(long_prompt);
  commit(scheduler.schedule());
  SchedSequence& short_prompt = add(30);
  scheduler.enqueue(short_prompt);
  const Step& step = scheduler.schedule();
  ASSERT_EQ(step.items.size(), 2u);
  EXPECT_EQ(step.items[0].sequence, &short_prompt);
  EXPECT_EQ(step.items[0].num_tokens, 30);
  EXPECT_EQ(step.items[1].num_tokens, 70);
}

TEST_F(SchedulerTest, ShortPromptsLeaveALongOneItsShare) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 9, .max_queued = 9});
  SchedSequence& long_prompt = add(1000);
  scheduler.enqueue(long_prompt);
  for (int step_number = 0; long_prompt.num_pending() > 0; ++step_number) {
    ASSERT_LT(step_number, 100);
    while (scheduler.num_running() + scheduler.num_waiting() < 9) scheduler.enqueue(add(11));
    const int before = long_prompt.num_pending();
    const Step step = scheduler.schedule();
    commit(step);
    EXPECT_LE(long_prompt.num_pending(), before - std::min(before, 11));
    for (const StepItem& item : step.items) {
      if (item.sequence != &long_prompt && item.sequence->num_pending() == 0) {
        finish(scheduler, *item.sequence);
      }
    }
  }
}

TEST_F(SchedulerTest, OnlyThoseForWhomThereIsNoPlaceCountAsQueued) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 3, .max_queued = 1});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(scheduler.enqueue(add(10))) << i;
  EXPECT_FALSE(scheduler.enqueue(add(10)));
  EXPECT_EQ(scheduler.num_waiting(), 4);  // until a step has given the places
  commit(scheduler.schedule());
  EXPECT_EQ(scheduler.num_running(), 3);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  EXPECT_FALSE(scheduler.enqueue(add(10)));
}

TEST_F(SchedulerTest, DecodingGoesBeforePrefill) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& prompt = add(250);
  scheduler.enqueue(prompt);
  SchedSequence& decoding = add(1);
  scheduler.enqueue(decoding);
  commit(scheduler.schedule());
  decoding.num_known += 1;
  for (int expected : {99, 52}) {
    const Step step = scheduler.schedule();
    ASSERT_EQ(step.items.size(), 2u);
    EXPECT_EQ(step.items[0].sequence, &decoding);
    EXPECT_EQ(step.items[0].num_tokens, 1);
    EXPECT_EQ(step.items[1].sequence, &prompt);
    EXPECT_EQ(step.items[1].num_tokens, expected);
    commit(step);
    decoding.num_known += 1;
  }
}

TEST_F(SchedulerTest, FullQueueIsRefusedAndSequencesAreLimited) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 2, .max_queued = 3});
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(scheduler.enqueue(add(10)));
  EXPECT_FALSE(scheduler.enqueue(add(10)));
  Step step = scheduler.schedule();
  EXPECT_EQ(step.items.size(), 2u);
  EXPECT_EQ(scheduler.num_running(), 2);
  EXPECT_EQ(scheduler.num_waiting(), 3);
  commit(step);
}

class TightSchedulerTest : public SchedulerTest {
 protected:
  TightSchedulerTest() : SchedulerTest(4) {}
};

TEST_F(TightSchedulerTest, PromptThatFitsLaterWaits) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& first = add(40);
  SchedSequence& second = add(30);
  scheduler.enqueue(first);
  scheduler.enqueue(second);
  Step step = scheduler.schedule();
  ASSERT_EQ(step.items.size(), 1u);
  commit(step);
  finish(scheduler, first);
  step = scheduler.schedule();
  ASSERT_EQ(step.items.size(), 1u);
  EXPECT_EQ(step.items[0].sequence, &second);
  commit(step);
}

TEST_F(TightSchedulerTest, PromptThatNeverFitsIsNamed) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& huge = add(65);
  scheduler.enqueue(huge);
  Step step = scheduler.schedule();
  EXPECT_TRUE(step.items.empty());
  EXPECT_EQ(step.exhausted, &huge);
}

TEST_F(TightSchedulerTest, HigherPriorityIsNotPreemptedForALowerOne) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 1000, .max_sequences = 4, .max_queued = 4});
  const int num_pages = static_cast<int>(cache_.budget_bytes() / kPageBytes);
  SchedSequence& low = add(kPageLen * (num_pages / 2) - 1);
  SchedSequence& high = add(kPageLen * (num_pages - num_pages / 2 - 1));
  low.priority = 1;
  high.priority = 2;
  scheduler.enqueue(low);
  commit(scheduler.schedule());
  ++low.num_known;
  scheduler.enqueue(high);
  commit(scheduler.schedule());
  ASSERT_EQ(high.num_pending(), 0);
  // Both decode, the lower one first, and there is one page left.
  ++low.num_known;
  ++high.num_known;
  const Step step = scheduler.schedule();
  ASSERT_EQ(step.items.size(), 1u);
  EXPECT_EQ(step.items[0].sequence, &high);
  EXPECT_EQ(high.num_preemptions, 0);
  EXPECT_EQ(low.num_preemptions, 1);
}

TEST_F(TightSchedulerTest, WhenAllStallTheYoungestIsPreempted) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 100, .max_sequences = 4, .max_queued = 4});
  SchedSequence& older = add(32);
  SchedSequence& younger = add(32);
  scheduler.enqueue(older);
  scheduler.enqueue(younger);
  commit(scheduler.schedule());
  older.num_known += 1;
  younger.num_known += 1;
  Step step = scheduler.schedule();
  ASSERT_EQ(step.items.size(), 1u);
  EXPECT_EQ(step.items[0].sequence, &older);
  EXPECT_EQ(step.exhausted, nullptr);
  EXPECT_EQ(younger.pages->num_tokens, 0);
  EXPECT_EQ(scheduler.stats().preemptions_recomputed, 1u);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  commit(step);
  finish(scheduler, older);
  step = scheduler.schedule();  // and goes on when the other has ended
  ASSERT_EQ(step.items.size(), 1u);
  EXPECT_EQ(step.items[0].sequence, &younger);
  commit(step);
}

// 200 pages; each comes to 20 of them, 10 of these with its prompt.
class GrowingSchedulerTest : public SchedulerTest {
 protected:
  static constexpr int kPromptLen = 10 * kPageLen, kMaxLen = 20 * kPageLen;

  GrowingSchedulerTest() : SchedulerTest(200) {}

  // Each generates until it has len tokens. Returns the most that ran at once.
  int run(Scheduler& scheduler, int num_requests, int len, int max_len) {
    for (int i = 0; i < num_requests; ++i) {
      SchedSequence& sequence = add(kPromptLen);
      sequence.max_len = max_len;
      EXPECT_TRUE(scheduler.enqueue(sequence));
    }
    int most = 0;
    for (int left = 100000; scheduler.num_running() + scheduler.num_waiting() > 0; --left) {
      EXPECT_GT(left, 0);
      const Step step = scheduler.schedule();
      EXPECT_EQ(step.exhausted, nullptr);
      if (left == 0 || step.exhausted != nullptr) break;
      most = std::max(most, scheduler.num_running());
      commit(step);
      for (const StepItem& item : step.items) {
        SchedSequence& sequence = *item.sequence;
        if (sequence.num_pending() > 0) continue;
        if (sequence.num_known == len) {
          finish(scheduler, sequence);
        } else {
          ++sequence.num_known;
        }
      }
    }
    return most;
  }
};

TEST_F(GrowingSchedulerTest, WhatWillBeGeneratedIsCountedAtAdmission) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 512, .max_sequences = 64, .max_queued = 64});
  EXPECT_EQ(run(scheduler, 40, kMaxLen, kMaxLen), 10);
  EXPECT_EQ(scheduler.stats().preemptions_recomputed, 0u);
}

TEST_F(GrowingSchedulerTest, RequestsThatEndEarlyMakeRoomForMore) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 512, .max_sequences = 64, .max_queued = 64});
  run(scheduler, 60, kPromptLen + kPageLen, kMaxLen);
  // 18 of 11 pages, but for the watermark.
  EXPECT_GE(run(scheduler, 40, kPromptLen + kPageLen, kMaxLen), 16);
}

// Those who generate far more than others did are preempted rather than lost.
TEST_F(GrowingSchedulerTest, AWrongExpectationLosesNobody) {
  Scheduler scheduler(cache_, {.max_batch_tokens = 512, .max_sequences = 64, .max_queued = 64});
  run(scheduler, 60, kPromptLen + kPageLen, kMaxLen);
  EXPECT_GT(run(scheduler, 40, kMaxLen, kMaxLen), 10);
  EXPECT_GT(scheduler.stats().preemptions_recomputed, 0u);
}

}  // namespace
}  // namespace kvi
