// A prefix that is kept: its pages on the device, or its copies in a lower tier, until it is released or expires.
//
// Thread-safe: what it holds is guarded by the core's mutex, and the core lets go of it when its time is over.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

#include "cache/sequence_pages.h"
#include "cache/tier_id.h"

namespace kvi {

class EngineCore;

class PinnedPrefix {
 public:
  PinnedPrefix(std::shared_ptr<EngineCore> core, SequencePages pages, TierId tier, int num_tokens,
               int64_t expires_us)
      : core_(std::move(core)),
        pages_(std::move(pages)),
        tier_(tier),
        num_tokens_(num_tokens),
        expires_us_(expires_us) {}
  ~PinnedPrefix();
  PinnedPrefix(const PinnedPrefix&) = delete;
  PinnedPrefix& operator=(const PinnedPrefix&) = delete;

  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  int num_tokens() const { return num_tokens_; }
  TierId tier() const { return tier_; }
  bool is_held() const { return held_.load(); }       // not expired, and the engine is open
  int64_t expires_us() const { return expires_us_; }  // on the engine's clock

 private:
  friend class EngineCore;

  const std::shared_ptr<EngineCore> core_;
  SequencePages pages_;
  const TierId tier_;
  const int num_tokens_;
  const int64_t expires_us_;
  std::atomic<bool> held_{true};
};

}  // namespace kvi
