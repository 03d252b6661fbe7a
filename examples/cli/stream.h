// One request of run or chat: streams its text, shows prefill's progress, and reports it as JSON.
#pragma once

#include <kvinfer/kvinfer.hpp>
#include <optional>

#include "output.h"

namespace cli {

enum class TextOutput { shown, kept };

struct Generated {
  kvinfer::Finish finish = kvinfer::Finish::none;
  std::string text;
  Json json;  // as kvinfer run --json writes it
};

// Generates after what the session holds. Ctrl-C ends it, and keeps what was made.
Generated generate(const kvinfer::Model& model, kvinfer::Session& session,
                   const kvinfer::GenerateOptions& options, std::optional<int32_t> logprobs,
                   TextOutput output);

}  // namespace cli
