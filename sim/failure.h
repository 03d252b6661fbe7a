// A check of the simulator that did not hold: which, and what was found.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "base/text.h"

namespace kvi::sim {

class Failure : public std::exception {
 public:
  Failure(std::string check, std::string found)
      : check_(std::move(check)), text_(check_ + ": " + std::move(found)) {}

  const std::string& check() const { return check_; }  // a phrase: what holds always
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string check_, text_;
};

template <typename... Parts>
void require(bool holds, const char* check, const Parts&... found) {
  if (!holds) throw Failure(check, concat(found...));
}

}  // namespace kvi::sim
