// kvinfer plan: the memory that a model would take, without loading its weights.
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

struct Plan {
  ModelArguments model;
  EngineArguments engine;
  uint32_t sequences = 1;

  void operator()() const {
    const kvinfer::Model opened = model.open_metadata();
    const kvi_plan plan = opened.plan(engine.options(model, opened).max_sequences(sequences));
    if (model.json) {
      print_json({{"weights_bytes", plan.weights_bytes},
                  {"kv_bytes_per_token", plan.kv_bytes_per_token},
                  {"kv_bytes", plan.kv_bytes},
                  {"scratch_bytes", plan.scratch_bytes},
                  {"load_peak_bytes", plan.load_peak_bytes}});
    } else {
      std::cout << "weights      " << format_bytes(plan.weights_bytes) << " (at most "
                << format_bytes(plan.load_peak_bytes) << " while loading)\n"
                << "KV           " << format_bytes(plan.kv_bytes) << " for " << sequences
                << " sequences: " << format_bytes(plan.kv_bytes_per_token) << " a token, "
                << plan.page_len << " tokens a page, " << format_bytes(plan.kv_bytes_per_sequence)
                << " a sequence\n"
                << "scratch      " << format_bytes(plan.scratch_bytes) << "\n"
                << "in all       "
                << format_bytes(plan.weights_bytes + plan.kv_bytes + plan.scratch_bytes) << "\n";
    }
    finish_output();
  }
};

}  // namespace

void add_plan(CLI::App& app) {
  auto plan = std::make_shared<Plan>();
  CLI::App& command = *app.add_subcommand("plan", "State the memory that a model would take");
  plan->model.add_to(command);
  plan->model.add_threads_to(command);
  command.add_option("--sequences", plan->sequences, "Sequences that run at once (default: 1)");
  plan->engine.add_model_len_to(command);
  plan->engine.add_computing_to(command);
  command.callback([plan] { (*plan)(); });
}

}  // namespace cli
