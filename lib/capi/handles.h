// What the opaque handles of kvinfer.h are: the shared objects that they keep alive, no more.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "engine/request.h"
#include "engine/session.h"
#include "kvinfer/kvinfer.h"
#include "tokenizer/stream_decoder.h"

namespace kvi::capi {

// Lets one thread at a time use an object; a second one gets BUSY.
class OneUser {
 public:
  OneUser(std::atomic<bool>& in_use, const char* what) : in_use_(in_use) {
    if (in_use_.exchange(true, std::memory_order_acquire)) {
      throw Error(Status::BUSY, std::string("another thread is using this ") + what).retryable();
    }
  }
  ~OneUser() { in_use_.store(false, std::memory_order_release); }
  OneUser(const OneUser&) = delete;
  OneUser& operator=(const OneUser&) = delete;

 private:
  std::atomic<bool>& in_use_;
};

}  // namespace kvi::capi

struct kvi_model {
  std::shared_ptr<const kvi::LoadedModel> model;
};

struct kvi_decoder {
  std::shared_ptr<const kvi::LoadedModel> model;
  kvi::StreamDecoder decoder;
  std::string text;  // what the last push or finish gave out
  std::atomic<bool> in_use{false};
};

struct kvi_engine {
  std::shared_ptr<kvi::Engine> engine;
};

struct kvi_session {
  std::shared_ptr<kvi::Engine> engine;
  std::shared_ptr<kvi::Session> session;
  std::atomic<bool> in_use{false};
};

struct kvi_request {
  std::shared_ptr<kvi::Engine> engine;
  std::shared_ptr<kvi::Request> request;
};
