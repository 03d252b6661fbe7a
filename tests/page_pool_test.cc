#include "cache/page_pool.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace kvi {
namespace {

class PagePoolTest : public testing::Test {
 protected:
  ~PagePoolTest() override { pool_.check_invariants(); }
  PagePool pool_{3};
};

TEST_F(PagePoolTest, SharedPageIsFreedByItsLastHolder) {
  const PageId shared = *pool_.allocate();
  pool_.retain(shared);
  EXPECT_FALSE(pool_.release(shared));
  EXPECT_EQ(pool_.num_held(), 1);
  EXPECT_TRUE(pool_.release(shared));
  EXPECT_EQ(pool_.num_held(), 0);
}

TEST_F(PagePoolTest, LowestFreePageComesFirst) {
  for (PageId page : {0, 1, 2}) EXPECT_EQ(*pool_.allocate(), page);
  pool_.release(2);
  pool_.release(0);
  EXPECT_EQ(*pool_.allocate(), 0);
  EXPECT_EQ(*pool_.allocate(), 2);
}

TEST_F(PagePoolTest, RunningOutIsNoError) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool_.allocate().has_value());
  EXPECT_FALSE(pool_.allocate().has_value());
}

TEST_F(PagePoolTest, MisuseIsReportedAndChangesNothing) {
  const PageId page = *pool_.allocate();
  pool_.release(page);
  EXPECT_THROW(pool_.release(page), Error);
  EXPECT_THROW(pool_.retain(page), Error);
  EXPECT_THROW(pool_.release(7), Error);
}

}  // namespace
}  // namespace kvi
