// kvinfer bench --scenario prefix: requests that begin with the same tokens, with the prefix cache and without.
//
// Memory is that of all requests, by allocation (kvi_sim). Time is that of a few, on this machine: an engine that
// caches and one that does not answer the same prompts in turn, and must generate the same tokens.
#include <algorithm>

#include "core_program.h"
#include "measuring.h"
#include "scenarios.h"

namespace cli {
namespace {

constexpr uint32_t kGenerated = 32;  // tokens
constexpr uint32_t kRepeats = 3;
constexpr uint32_t kTurns = 8, kTurnLen = 128;  // of a chat: tokens of a question

struct Case {
  const char* name;
  uint32_t prefix_len, num_requests, suffix_len;
};
constexpr Case kCases[] = {{"system_prompt", 2000, 1000, 16},
                           {"document_qa", 8000, 100, 320},
                           {"few_shot", 500, 500, 108},
                           {"code_completion", 1000, 2000, 88}};
constexpr uint32_t kLongest = 8000 + 320 + kGenerated;

class PrefixBench {
 public:
  explicit PrefixBench(const ScenarioArguments& arguments)
      : arguments_(arguments),
        repeats_(arguments.repeats.value_or(kRepeats)),
        model_(arguments.model.open()),
        options_(options()),
        cached_(make_engine(1)),
        cold_(make_engine(0)) {}

  Json run() {
    Json rows = Json::array();
    for (const Case& shared : kCases) rows.push_back(measure(shared));
    rows.push_back(measure_chat());
    return rows;
  }

 private:
  struct Times {
    std::vector<double> ttft, total;  // ms
    void add(const Answer& made) {
      ttft.push_back(made.usage.ttft_ms);
      total.push_back(made.usage.total_ms);
    }
  };

  kvi_engine_options options() const {
    kvi_engine_options options = arguments_.engine.options(arguments_.model, model_).without_log();
    options.max_model_len = kLongest;
    options.max_sequences = 1;
    // Room for the prefix, and for the suffixes of those who came before.
    if (!arguments_.engine.kv_budget_bytes) {
      options.kv_budget_bytes = std::max(options.kv_budget_bytes,
                                         3 * bytes_per_sequence(model_, options));
    }
    return options;
  }
  kvinfer::Engine make_engine(uint32_t prefix_caching) const {
    kvi_engine_options options = options_;
    options.prefix_caching = prefix_caching;
    return create_engine(model_, options);
  }

  Json measure(const Case& shared) {
    const Tokens prefix = random_tokens(model_, shared.prefix_len, shared.prefix_len);
    Times cached, cold;
    answer(cached_, prompt(prefix, shared, 0), kGenerated);  // whoever comes first computes it
    for (uint32_t i = 1; i <= repeats_; ++i) {
      const Tokens tokens = prompt(prefix, shared, i);
      compare(tokens, shared.prefix_len, shared.name, i % 2 == 0, cached, cold,
              [&] { return answer(cached_, tokens, kGenerated); });
    }
    return row({shared.name, shared.prefix_len, shared.num_requests, shared.suffix_len}, false,
               cached, cold);
  }

  // The prefix and a suffix that differs from its first token on.
  Tokens prompt(const Tokens& prefix, const Case& shared, uint32_t request) const {
    Tokens own = random_tokens(model_, uint64_t{shared.prefix_len} << 32 | request,
                               shared.suffix_len);
    own[0] = static_cast<int32_t>(request % model_.info().vocab_size);
    own.insert(own.begin(), prefix.begin(), prefix.end());
    return own;
  }

  // Answers by both engines, in an order that changes.
  template <typename AnswerCached>
  void compare(const Tokens& tokens, uint32_t prefix_len, const std::string& name, bool cold_first,
               Times& cached, Times& cold, const AnswerCached& answer_cached) {
    std::optional<Answer> without;
    if (cold_first) without = answer(cold_, tokens, kGenerated);
    const Answer with = answer_cached();
    if (!cold_first) without = answer(cold_, tokens, kGenerated);
    require_equal(with, *without, name);
    // At least the whole pages; the last token generated in a turn is computed with the next one.
    const uint32_t least = (prefix_len - 1) / options_.page_len * options_.page_len;
    const uint32_t found = with.usage.cached_tokens;
    if (found < least || found > prefix_len || without->usage.cached_tokens != 0) {
      throw Failure(ExitCode::failure, name + ": " + std::to_string(found) + " of " +
                                           std::to_string(prefix_len) +
                                           " shared tokens came from the cache");
    }
    cached.add(with);
    cold.add(*without);
  }

  // One conversation: the last turn, against the same text in an engine that has seen nothing of it.
  Json measure_chat() {
    Times cached, cold;
    const uint32_t prefix_len = (kTurns - 1) * (kTurnLen + kGenerated);
    for (uint32_t i = 1; i <= repeats_; ++i) {
      kvinfer::Session chat = cached_.session();
      for (uint32_t turn = 0; turn < kTurns; ++turn) {
        chat.append(random_tokens(model_, ~(uint64_t{i} << 32 | turn), kTurnLen));
        if (turn < kTurns - 1) answer(chat, kGenerated);
      }
      compare(chat.tokens(), prefix_len, "multi_turn", i % 2 == 0, cached, cold,
              [&] { return answer(chat, kGenerated); });
    }
    return row({"multi_turn", prefix_len, kTurns, kTurnLen + kGenerated}, true, cached, cold);
  }

  Json row(const Case& shared, bool growing, const Times& cached, const Times& cold) const {
    std::vector<std::string> command = {"prefix"};
    for (const std::string& argument : core_shape_arguments(model_.info(), options_.page_len)) {
      command.push_back(argument);
    }
    const auto add = [&](const char* name, uint32_t value) {
      command.emplace_back(name);
      command.push_back(std::to_string(value));
    };
    add("--requests", shared.num_requests);
    add("--prefix-len", growing ? 0 : shared.prefix_len);
    add("--suffix-len", shared.suffix_len);
    if (growing) command.emplace_back("--growing");
    const auto reduction = [](const std::vector<double>& with, const std::vector<double>& without) {
      return 100 * (1 - median(with) / median(without));
    };
    return {{"name", shared.name},
            {"prefix_tokens", shared.prefix_len},
            {"requests", shared.num_requests},
            {"memory_saved_percent", ask_core_program(command)["memory_saved_percent"]},
            {"ttft_reduction_percent", reduction(cached.ttft, cold.ttft)},
            {"latency_reduction_percent", reduction(cached.total, cold.total)},
            {"requests_timed", cached.ttft.size()},
            {"ttft_ms", median(cached.ttft)},
            {"cold_ttft_ms", median(cold.ttft)}};
  }

  const ScenarioArguments& arguments_;
  const uint32_t repeats_;
  const kvinfer::Model model_;
  const kvi_engine_options options_;
  const kvinfer::Engine cached_, cold_;
};

}  // namespace

void bench_prefix(const ScenarioArguments& arguments) {
  print_results(PrefixBench(arguments).run(), arguments.model.json);
}

}  // namespace cli
