// One running text inside the engine: its tokens, its pages, and who may touch them now.
//
// Owned by nobody, a user's thread or a request; tokens are the owner's alone. Pages and the running
// request are guarded by the core's mutex.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "cache/sequence_pages.h"
#include "engine/options.h"
#include "engine/request.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

enum class SequenceOwner { nobody, user, request };

struct SequenceState {
  explicit SequenceState(SessionOptions session_options = {})
      : options(std::move(session_options)) {}

  std::atomic<SequenceOwner> owner{SequenceOwner::nobody};
  std::vector<TokenId> tokens;
  std::atomic<uint32_t> num_tokens{0};  // tokens.size(), for those who do not own it

  const SessionOptions options;
  SequencePages pages;
  uint64_t last_used = 0;            // number of the request that used it last
  std::shared_ptr<Request> request;  // the running one
  bool abandoned = false;  // its session is gone: give the pages back when the request ends
};

}  // namespace kvi
