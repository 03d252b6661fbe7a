// What the opaque handles of kvinfer.h are: the shared objects that they keep alive, no more.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "engine/request.h"
#include "engine/session.h"
#include "kvinfer/kvinfer.h"
#include "tokenizer/stream_decoder.h"

struct kvi_model {
  std::shared_ptr<const kvi::LoadedModel> model;
};

struct kvi_decoder {
  std::shared_ptr<const kvi::LoadedModel> model;
  kvi::StreamDecoder decoder;
  std::string text;                 // what the last push or finish gave out
  std::atomic<bool> in_use{false};  // by one thread at a time
};

struct kvi_engine {
  std::shared_ptr<kvi::Engine> engine;
};

struct kvi_session {
  std::shared_ptr<kvi::Engine> engine;
  std::shared_ptr<kvi::Session> session;
};

struct kvi_budget {
  std::shared_ptr<kvi::MemoryBudget> budget;
};

struct kvi_prefix {
  std::shared_ptr<kvi::Engine> engine;
  std::shared_ptr<kvi::PinnedPrefix> prefix;
};

struct kvi_request {
  std::shared_ptr<kvi::Engine> engine;
  std::shared_ptr<kvi::Request> request;
  void* user = nullptr;  // its caller's object
};
