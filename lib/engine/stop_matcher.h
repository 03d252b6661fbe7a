// Holds back generated text that may be the beginning of a stop text, so that no part of one comes out.
//
// Not thread-safe: one request, one matcher.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvi {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds text; returns what can no longer be part of a stop text. stopped() afterwards: a stop text was
  // completed, and nothing from its first byte on comes out.
  std::string push(std::string_view text);
  std::string finish();  // what was held back, at an end for another reason
  bool stopped() const { return stopped_; }

 private:
  const std::vector<std::string> stops_;  // not empty each
  std::string held_;                      // a proper prefix of some stop text
  bool stopped_ = false;
};

}  // namespace kvi
