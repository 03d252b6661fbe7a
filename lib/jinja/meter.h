// Counts what a template costs while it is parsed or rendered, and stops it at its limits.
//
// Every loop over data of the template's making passes through step() or work(), every allocation
// that a template can size through a Charge. A limit reached is UNSUPPORTED naming limit and line.
//
// Not thread-safe: one parse or one rendering, one meter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "jinja/chat_template.h"

namespace kvi::jinja {

class Meter {
 public:
  // max_depth: how deep this activity may recurse.
  Meter(const TemplateLimits& limits, int max_depth) : limits_(limits), max_depth_(max_depth) {}
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  void set_line(int line) { line_ = line; }
  int line() const { return line_; }
  const TemplateLimits& limits() const { return limits_; }

  void step() {
    if (++steps_ > limits_.max_steps) fail_steps();
  }
  void work(size_t bytes) {  // a step for every cache line of data touched
    steps_ += bytes / 64;
    step();
  }

  void charge(size_t bytes);
  void release(size_t bytes) noexcept { memory_bytes_ -= bytes; }

  // The template is at fault for what it does with this input. Throws INVALID_ARGUMENT.
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_unsupported(const std::string& what) const;
  [[noreturn]] void fail_limit(const std::string& limit) const;  // throws UNSUPPORTED

 private:
  friend class DepthGuard;
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_depth() const;

  const TemplateLimits limits_;
  const int max_depth_;
  int line_ = 1;
  int depth_ = 0;
  uint64_t steps_ = 0;
  uint64_t memory_bytes_ = 0;
};

// Holds one level of recursion for its lifetime.
class DepthGuard {
 public:
  explicit DepthGuard(Meter& meter) : meter_(meter) {
    if (meter_.depth_ >= meter_.max_depth_) meter_.fail_depth();
    ++meter_.depth_;
  }
  ~DepthGuard() { --meter_.depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Meter& meter_;
};

// Bytes held against a meter's memory limit for as long as this lives. Without a meter (constants
// of the program) nothing is counted.
class Charge {
 public:
  Charge() = default;
  Charge(Meter& meter, size_t bytes) : meter_(&meter) { add(bytes); }
  Charge(Charge&& other) noexcept : meter_(other.meter_), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&&) = delete;
  ~Charge() {
    if (meter_) meter_->release(bytes_);
  }

  void add(size_t bytes) {
    if (!meter_) return;
    meter_->charge(bytes);
    bytes_ += bytes;
  }

 private:
  Meter* meter_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace kvi::jinja
