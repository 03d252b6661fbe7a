// kvinfer bench --scenario grid: what sequences hold in four arrangements of KV memory, and how fast the model's own is.
//
// kvi_sim allocates all of them (sim/grid_scenario.h); the model's own arrangement is also run and measured. The others
// the model cannot run, so there are no rates.
#include <algorithm>
#include <iostream>

#include "core_program.h"
#include "measuring.h"
#include "scenarios.h"

namespace cli {
namespace {

constexpr uint32_t kGenerated = 32;
constexpr uint64_t kBudgetBytes = uint64_t{4} << 30;  // where --kv-budget is not given

class Grid {
 public:
  explicit Grid(const ScenarioArguments& arguments)
      : arguments_(arguments),
        gen_len_(arguments.gen_len.value_or(kGenerated)),
        model_(arguments.model.open()),
        info_(model_.info()) {}

  Json run() {
    check_lengths();
    Json rows = ask_core_program(command())["results"];
    for (Json& row : rows) {
      const bool is_own = row["name"] == own_name();
      row["runs"] = is_own;
      row["prefill_tokens_per_s"] = nullptr;
      row["decode_tokens_per_s"] = nullptr;
      if (is_own) measure(row);
    }
    return rows;
  }

  const char* own_name() const {
    if (info_.num_window_layers == 0) return "paged";
    return info_.num_window_layers == info_.num_layers ? "window" : "hybrid";
  }

 private:
  // A sequence's tokens, the last of them not computed.
  uint32_t len_of(uint32_t prompt_len) const { return prompt_len + 1 + gen_len_; }

  void check_lengths() const {
    const uint32_t len = len_of(
        *std::max_element(arguments_.prompt_lens.begin(), arguments_.prompt_lens.end()));
    if (arguments_.engine.max_model_len && *arguments_.engine.max_model_len < len) {
      throw Failure(
          ExitCode::usage,
          "--max-model-len must be at least --prompt-len + 1 + --gen-len, " + std::to_string(len));
    }
  }

  std::vector<std::string> command() const {
    const auto text = [](uint64_t number) { return std::to_string(number); };
    const auto list = [&](const std::vector<uint32_t>& numbers) {
      std::string joined;
      for (uint32_t number : numbers) joined += (joined.empty() ? "" : ",") + text(number);
      return joined;
    };
    const uint32_t page_len =
        arguments_.engine.options(arguments_.model, model_).without_log().page_len;
    std::vector<std::string> command = {
        "grid",
        "--prompt-len",
        list(arguments_.prompt_lens),
        "--sequences",
        list(arguments_.sequences),
        "--gen-len",
        text(gen_len_),
        "--reserved-len",
        text(arguments_.engine.max_model_len.value_or(info_.context_len)),
        "--budget-bytes",
        text(arguments_.engine.kv_budget_bytes.value_or(kBudgetBytes))};
    for (const std::string& argument : core_shape_arguments(info_, page_len)) {
      command.push_back(argument);
    }
    return command;
  }

  void measure(Json& row) const {
    const uint32_t prompt_len = row["prompt_len"], count = row["sequences"];
    kvinfer::EngineOptions options = arguments_.engine.options(arguments_.model, model_);
    options.max_sequences(count).max_model_len(len_of(prompt_len));
    if (!arguments_.engine.kv_budget_bytes) fit_budget(model_, options);
    const auto engine = kvinfer::Engine::create(model_, options);
    Throughput best;
    for (uint32_t i = 0; i < arguments_.repeats.value_or(1); ++i) {
      const Throughput now = measure_throughput(engine, model_, count, prompt_len, gen_len_, i);
      best = {std::max(best.prefill, now.prefill), std::max(best.decode, now.decode), now.kv_bytes};
    }
    row["kv_bytes"] = best.kv_bytes;
    row["kv_bytes_from"] = "measured";
    row["bytes_per_token"] = static_cast<double>(best.kv_bytes) /
                             (static_cast<double>(count) * (prompt_len + gen_len_));
    row["prefill_tokens_per_s"] = best.prefill;
    row["decode_tokens_per_s"] = best.decode;
  }

  const ScenarioArguments& arguments_;
  const uint32_t gen_len_;
  const kvinfer::Model model_;
  const kvi_model_info info_;
};

}  // namespace

void bench_grid(const ScenarioArguments& arguments) {
  Grid grid(arguments);
  const Json rows = grid.run();
  if (!arguments.model.json) {
    std::cout << "This model runs " << grid.own_name() << "; of the others there is memory only.\n";
  }
  print_results(rows, arguments.model.json);
}

}  // namespace cli
