#include "stream.h"

#include <iostream>

#include "interrupt.h"

namespace cli {
namespace {

constexpr uint32_t kProgressIntervalMs = 100;

void show_prefill(const kvinfer::Session& session, const kvinfer::Stream& stream) {
  Progress progress("reading the prompt");
  if (!progress.visible()) return;
  while (kvi_request_wait(stream.raw(), kProgressIntervalMs, nullptr) == KVI_TIMEOUT) {
    kvi_session_info info = session.info();
    if (stream.usage().generated_tokens > 0) return;
    progress.show(info.num_computed_tokens, info.num_tokens);
  }
}

Json token_json(const kvinfer::Model& model, int32_t token, float logprob) {
  return {{"token", token},
          {"text", model.detokenize({token}, kvinfer::Special::yes)},
          {"logprob", logprob}};
}

Json logprobs_json(const kvinfer::Model& model, const kvinfer::Stream& stream, int32_t num_top) {
  Json places = Json::array();
  const std::vector<int32_t> tokens = stream.tokens();
  const std::vector<float> logprobs = stream.logprobs();
  for (size_t i = 0; i < tokens.size(); ++i) {
    Json place = token_json(model, tokens[i], logprobs[i]);
    if (num_top > 0) {
      Json& top = place["top"] = Json::array();
      for (const kvinfer::TokenLogprob& other : stream.top_logprobs(i)) {
        top.push_back(token_json(model, other.token, other.logprob));
      }
    }
    places.push_back(std::move(place));
  }
  return places;
}

Json report(const kvinfer::Stream& stream) {
  const kvi_usage usage = stream.usage();
  return {{"text", stream.text()},
          {"tokens", stream.tokens()},
          {"finish_reason", kvi_finish_name(usage.finish)},
          {"usage",
           {{"prompt_tokens", usage.prompt_tokens},
            {"cached_tokens", usage.cached_tokens},
            {"generated_tokens", usage.generated_tokens}}},
          {"timings", {{"ttft_ms", usage.ttft_ms}, {"tpot_ms", usage.tpot_ms}}}};
}

}  // namespace

Generated generate(const kvinfer::Model& model, kvinfer::Session& session,
                   const kvinfer::GenerateOptions& options, std::optional<int32_t> logprobs,
                   TextOutput output) {
  kvinfer::Stream stream = session.generate(options);
  Interrupt::Scope interrupt([&] { stream.cancel(); });
  show_prefill(session, stream);
  std::optional<kvinfer::Error> failed;
  try {
    for (const kvinfer::Chunk& chunk : stream) {
      if (output == TextOutput::shown) std::cout << chunk.text() << std::flush;
    }
  } catch (const kvinfer::Error& error) {
    failed = error;
  }
  Generated result{stream.finish(), stream.text(), report(stream), std::move(failed)};
  if (logprobs && *logprobs >= 0) {
    result.json["logprobs"] = logprobs_json(model, stream, *logprobs);
  }
  return result;
}

void finish(const Generated& made, TextOutput output) {
  if (output == TextOutput::kept) {
    print_json(made.json);
  } else if (!made.error || !made.text.empty()) {
    std::cout << "\n";
  }
  finish_output();
  if (made.error) throw *made.error;
}

}  // namespace cli
