// kvinfer bench: tokens per second of prefill and of decode, all sequences together.
//
// Each sequence has a random prompt of its own. Prefill is timed from the first request to the last
// first token, with nothing to decode; decode between first and last token, with the prompts computed.
// The best of several repeats counts, after a warm-up.
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <memory>
#include <random>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostTokens = 1 << 23;  // half of what the library takes in a sequence

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A request and when it was made, in seconds of the measurement's clock.
struct TimedRequest {
  kvinfer::Stream stream;
  double made_at;
};

struct Bench {
  ModelArguments model;
  EngineArguments engine;
  uint32_t prompt_len = 512, gen_len = 128, repeats = 3;
  std::vector<uint32_t> sequences = {1};

  void operator()() const {
    const uint32_t len = prompt_len + 1 + gen_len;
    if (engine.max_model_len && *engine.max_model_len < len) {
      throw Failure(
          ExitCode::usage,
          "--max-model-len must be at least --prompt-len + 1 + --gen-len, " + std::to_string(len));
    }
    const uint32_t most = *std::max_element(sequences.begin(), sequences.end());
    const kvinfer::Model opened = model.open();
    kvinfer::EngineOptions options = engine.options(model, opened).max_sequences(most);
    if (!engine.max_model_len) {
      check_context(opened, "a length (--prompt-len + 1 + --gen-len) of", len);
      options.max_model_len(len);
    }
    if (!engine.kv_budget_bytes) fit_budget(opened, options);
    const auto running = kvinfer::Engine::create(opened, options);

    Json results = Json::array();
    const auto vocab_size = static_cast<int32_t>(opened.info().vocab_size);
    for (uint32_t count : sequences) {
      Measurement best;
      for (uint32_t repeat = 0; repeat <= repeats; ++repeat) {  // the first warms up
        const Measurement now = measure(running, count, vocab_size, repeat);
        if (repeat > 0)
          best = {std::max(best.prefill, now.prefill), std::max(best.decode, now.decode)};
      }
      report(results, "prefill", count, best.prefill);
      report(results, "decode", count, best.decode);
    }
    if (model.json) print_json({{"results", results}});
    finish_output();
  }

  struct Measurement {
    double prefill = 0, decode = 0;  // tokens per second
  };

  Measurement measure(const kvinfer::Engine& running, uint32_t count, int32_t vocab_size,
                      uint64_t seed) const {
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<int32_t> any_token(0, vocab_size - 1);
    std::vector<kvinfer::Session> sessions;
    for (uint32_t i = 0; i < count; ++i) {
      std::vector<int32_t> prompt(prompt_len);
      std::generate(prompt.begin(), prompt.end(), [&] { return any_token(random); });
      sessions.push_back(running.session());
      sessions.back().append(prompt);
    }
    return {prefill_rate(sessions), decode_rate(sessions)};
  }

  double prefill_rate(std::vector<kvinfer::Session>& sessions) const {
    double end = 0;
    for (const TimedRequest& request : generate(sessions, 1)) {
      end = std::max(end, request.made_at + request.stream.usage().ttft_ms / 1000);
    }
    return prompt_len * static_cast<double>(sessions.size()) / end;
  }

  double decode_rate(std::vector<kvinfer::Session>& sessions) const {
    double first = std::numeric_limits<double>::infinity(), last = 0;
    for (const TimedRequest& request : generate(sessions, gen_len)) {
      const kvi_usage usage = request.stream.usage();
      const double begin = request.made_at + usage.ttft_ms / 1000;
      first = std::min(first, begin);
      last = std::max(last, begin + usage.tpot_ms / 1000 * (usage.generated_tokens - 1));
    }
    return (gen_len - 1) * static_cast<double>(sessions.size()) / (last - first);
  }

  // Starts a request in each session, and waits for the end of all.
  static std::vector<TimedRequest> generate(std::vector<kvinfer::Session>& sessions,
                                            uint32_t num_tokens) {
    const auto options = kvinfer::GenerateOptions::greedy(num_tokens).ignore_eos();
    std::vector<TimedRequest> requests;
    const Clock::time_point start = Clock::now();
    for (kvinfer::Session& session : sessions) {
      const double made_at = seconds_since(start);
      requests.push_back({session.generate(options), made_at});
    }
    for (TimedRequest& request : requests) {
      while (request.stream.next()) continue;
      if (request.stream.usage().generated_tokens != num_tokens) {
        throw Failure(ExitCode::failure, "a sequence ended early");
      }
    }
    return requests;
  }

  void report(Json& results, const char* name, uint32_t count, double tokens_per_s) const {
    results.push_back({{"name", name},
                       {"sequences", count},
                       {"prompt_len", prompt_len},
                       {"gen_len", gen_len},
                       {"tokens_per_s", tokens_per_s}});
    if (model.json) return;
    std::cout << std::left << std::setw(8) << name << std::right << std::setw(4) << count
              << " sequences  " << std::fixed << std::setprecision(1) << std::setw(10)
              << tokens_per_s << " tokens/s" << std::endl;
  }
};

}  // namespace

void add_bench(CLI::App& app) {
  auto bench = std::make_shared<Bench>();
  CLI::App& command = *app.add_subcommand("bench", "Measure tokens per second");
  bench->model.add_to(command);
  bench->model.add_threads_to(command);
  command.add_option("--prompt-len", bench->prompt_len, "Tokens of a prompt (default: 512)")
      ->check(CLI::Range(1, kMostTokens));
  command.add_option("--gen-len", bench->gen_len, "Tokens to generate (default: 128)")
      ->check(CLI::Range(2, kMostTokens));
  command.add_option("--sequences", bench->sequences, "Sequences at once, as 1,4 (default: 1)")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  command.add_option("--repeats", bench->repeats, "The best of so many counts (default: 3)")
      ->check(CLI::Range(1, 1000));
  bench->engine.add_to(command);
  command.callback([bench] { (*bench)(); });
}

}  // namespace cli
