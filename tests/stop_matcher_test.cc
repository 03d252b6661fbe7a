#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

#include "support/seed.h"

namespace kvi {
namespace {

TEST(StopMatcherTest, PartOfAStopTextNeverComesOut) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("one E"), "one ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("X E"), "ENX ");
  EXPECT_EQ(matcher.push("ND tail"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcherTest, WhatWasHeldBackComesOutAtAnotherEnd) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("so EN"), "so ");
  EXPECT_EQ(matcher.finish(), "EN");
}

TEST(StopMatcherTest, HowTheTextIsCutMakesNoDifference) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 5000; ++round) {
    auto random_text = [&](size_t max_len) {
      std::string text;
      for (size_t n = 1 + random() % max_len; n > 0; --n)
        text += static_cast<char>('a' + random() % 2);
      return text;
    };
    const std::string text = random_text(30);
    std::vector<std::string> stops;
    for (size_t n = random() % 3; n > 0; --n) stops.push_back(random_text(5));
    size_t end = std::string::npos;
    for (const std::string& stop : stops) end = std::min(end, text.find(stop));

    StopMatcher matcher(stops);
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const size_t piece = 1 + random() % 4;
      out += matcher.push(text.substr(i, piece));
      i += piece;
    }
    out += matcher.finish();
    EXPECT_EQ(matcher.stopped(), end != std::string::npos);
    // Pieces may complete a longer stop before an earlier-starting one is whole: the earliest start
    // among the completed ones counts, so nothing of any stop text is ever in the output.
    for (const std::string& stop : stops) EXPECT_EQ(out.find(stop), std::string::npos);
    EXPECT_EQ(text.compare(0, out.size(), out), 0);
    if (end == std::string::npos) {
      EXPECT_EQ(out, text);
    }
  }
}

}  // namespace
}  // namespace kvi
