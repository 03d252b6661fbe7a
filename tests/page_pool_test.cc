#include "cache/page_pool.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace kvi {
namespace {

class PagePoolTest : public testing::Test {
 protected:
  ~PagePoolTest() override { pool_.check_invariants(); }
  PageId take() {
    const PageId page = pool_.lowest_free();
    if (page != kNoPage) pool_.take(page);
    return page;
  }

  PagePool pool_{3};
};

TEST_F(PagePoolTest, SharedPageIsFreedByItsLastHolder) {
  const PageId shared = take();
  pool_.retain(shared);
  pool_.release(shared);
  EXPECT_EQ(pool_.num_in_class(PageClass::private_), 1);
  pool_.release(shared);
  EXPECT_EQ(pool_.num_in_class(PageClass::private_), 0);
  EXPECT_EQ(pool_.state(shared), PageState::free);
}

TEST_F(PagePoolTest, APageIsInOneClassAtATime) {
  const PageId page = take();
  EXPECT_EQ(pool_.page_class(page), PageClass::private_);
  pool_.index(page, 7);
  EXPECT_EQ(pool_.page_class(page), PageClass::pinned);
  pool_.release(page);
  EXPECT_EQ(pool_.page_class(page), PageClass::cached);
  pool_.begin_flight(page);
  EXPECT_EQ(pool_.page_class(page), PageClass::deferred);
  pool_.retain(page);
  EXPECT_EQ(pool_.page_class(page), PageClass::pinned);
  pool_.release(page);
  pool_.unindex(page);
  EXPECT_EQ(pool_.page_class(page), PageClass::deferred);
  const uint32_t generation = pool_.generation(page);
  pool_.end_flight(page);
  EXPECT_EQ(pool_.page_class(page), PageClass::free);
  EXPECT_NE(pool_.generation(page), generation);
}

TEST_F(PagePoolTest, LowestFreePageComesFirst) {
  for (PageId page : {0, 1, 2}) EXPECT_EQ(take(), page);
  pool_.release(2);
  pool_.release(0);
  EXPECT_EQ(take(), 0);
  EXPECT_EQ(take(), 2);
}

TEST_F(PagePoolTest, RunningOutIsNoError) {
  for (int i = 0; i < 3; ++i) ASSERT_NE(take(), kNoPage);
  EXPECT_EQ(pool_.lowest_free(), kNoPage);
}

TEST_F(PagePoolTest, MisuseIsReportedAndChangesNothing) {
  const PageId page = take();
  pool_.release(page);
  EXPECT_THROW(pool_.release(page), Error);
  EXPECT_THROW(pool_.retain(page), Error);
  EXPECT_THROW(pool_.release(7), Error);
}

}  // namespace
}  // namespace kvi
