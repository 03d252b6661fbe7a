// kvinfer bench: tokens per second of prefill and of decode, all sequences together; or a scenario.
//
// The best of several repeats counts, after a warm-up.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "measuring.h"
#include "output.h"
#include "scenarios.h"

namespace cli {
namespace {

constexpr int kMostTokens = 1 << 23;  // half of what the library takes in a sequence

struct Bench {
  ModelArguments model;
  EngineArguments engine;
  std::string scenario;
  std::vector<uint32_t> prompt_lens = {512}, sequences = {1};
  std::optional<uint32_t> gen_len, repeats;

  void operator()() const {
    if (scenario.empty()) return measure_throughput();
    const ScenarioArguments arguments = {model, engine, prompt_lens, sequences, gen_len, repeats};
    if (scenario == "memory") bench_memory(arguments);
    if (scenario == "prefix") bench_prefix(arguments);
    if (scenario == "swap") bench_swap(arguments);
    if (scenario == "cache-ops") bench_cache_ops(arguments);
    if (scenario == "grid") bench_grid(arguments);
  }

  void measure_throughput() const {
    const uint32_t gen = gen_len.value_or(128);
    const uint32_t len = *std::max_element(prompt_lens.begin(), prompt_lens.end()) + 1 + gen;
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
    for (uint32_t prompt_len : prompt_lens) {
      for (uint32_t count : sequences) {
        Throughput best;
        for (uint32_t repeat = 0; repeat <= repeats.value_or(3); ++repeat) {  // the first warms up
          const Throughput now = cli::measure_throughput(running, opened, count, prompt_len, gen,
                                                         repeat);
          if (repeat == 0) continue;
          best.prefill = std::max(best.prefill, now.prefill);
          best.decode = std::max(best.decode, now.decode);
        }
        report(results, "prefill", count, prompt_len, gen, best.prefill);
        report(results, "decode", count, prompt_len, gen, best.decode);
      }
    }
    if (model.json) print_json({{"results", results}});
    finish_output();
  }

  void report(Json& results, const char* name, uint32_t count, uint32_t prompt_len, uint32_t gen,
              double tokens_per_s) const {
    results.push_back({{"name", name},
                       {"sequences", count},
                       {"prompt_len", prompt_len},
                       {"gen_len", gen},
                       {"tokens_per_s", tokens_per_s}});
    if (model.json) return;
    std::cout << std::left << std::setw(8) << name << std::right << std::setw(4) << count
              << " sequences of " << prompt_len << "  " << std::fixed << std::setprecision(1)
              << std::setw(10) << tokens_per_s << " tokens/s" << std::endl;
  }
};

}  // namespace

void add_bench(CLI::App& app) {
  auto bench = std::make_shared<Bench>();
  CLI::App& command = *app.add_subcommand("bench",
                                          "Measure tokens per second, or what the cache is worth");
  bench->model.add_to(command);
  bench->model.add_threads_to(command);
  command
      .add_option(
          "--scenario", bench->scenario,
          "memory: pages against contiguous memory; prefix: shared prompts; swap: paused "
          "conversations and overload; cache-ops: single operations; grid: KV memory "
          "of contiguous, paged, window and hybrid layers, and the speed of the model's own")
      ->check(CLI::IsMember({"memory", "prefix", "swap", "cache-ops", "grid"}));
  command
      .add_option("--prompt-len", bench->prompt_lens,
                  "Tokens of a prompt, as 128,1024 (default: 512)")
      ->delimiter(',')
      ->check(CLI::Range(1, kMostTokens));
  command.add_option("--gen-len", bench->gen_len, "Tokens to generate (default: 128; of grid: 32)")
      ->check(CLI::Range(2, kMostTokens));
  command.add_option("--sequences", bench->sequences, "Sequences at once, as 1,4 (default: 1)")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  command
      .add_option(
          "--repeats", bench->repeats,
          "The best of so many counts, of prefix and swap the median (default: 3; of grid: 1)")
      ->check(CLI::Range(1, 1000));
  bench->engine.add_to(command);
  command.callback([bench] { (*bench)(); });
}

}  // namespace cli
