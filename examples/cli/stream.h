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
  Json json;                            // as kvinfer run --json writes it
  std::optional<kvinfer::Error> error;  // what ended it too early
};

// Generates after what the session holds. Ctrl-C ends it, and keeps what was made; so does a failure.
Generated generate(const kvinfer::Model& model, kvinfer::Session& session,
                   const kvinfer::GenerateOptions& options, std::optional<int32_t> logprobs,
                   TextOutput output);

// Ends the text that was shown, or writes the JSON; throws what ended it too early.
void finish(const Generated& made, TextOutput output);

}  // namespace cli
