// EXPECT_ERROR(statement, STATUS, "words"): the statement throws kvi::Error with that status, and its
// message holds the words.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace kvi {

template <typename Statement>
testing::AssertionResult throws_error(Statement statement, Status status,
                                      const std::string& words) {
  try {
    statement();
  } catch (const Error& error) {
    if (error.status() != status) {
      return testing::AssertionFailure()
             << "status " << status_name(error.status()) << " with: " << error.message();
    }
    if (error.message().find(words) == std::string::npos) {
      return testing::AssertionFailure() << "'" << words << "' is not in: " << error.message();
    }
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "no error was thrown";
}

}  // namespace kvi

#define EXPECT_ERROR(statement, status, words) \
  EXPECT_TRUE(::kvi::throws_error([&] { statement; }, ::kvi::Status::status, words))
