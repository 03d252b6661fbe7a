// kvinfer simulate: what the prefix cache would hit of a published request trace. kvi_sim replays it.
#include <iostream>
#include <limits>
#include <memory>

#include "commands.h"
#include "core_program.h"

namespace cli {
namespace {

struct Simulate {
  std::string trace, policy = "cost";
  int64_t budget_blocks = 0;
  bool json = false;

  void operator()() const {
    std::vector<std::string> arguments = {"replay", "--trace=" + trace, "--policy=" + policy,
                                          "--budget-blocks=" + std::to_string(budget_blocks)};
    if (json) arguments.emplace_back("--json");
    std::cout << run_core_program(arguments);
    finish_output();
  }
};

}  // namespace

void add_simulate(CLI::App& app) {
  auto simulate = std::make_shared<Simulate>();
  CLI::App& command = *app.add_subcommand(
      "simulate", "Replay a request trace over the prefix cache's eviction policies");
  command
      .add_option("--trace", simulate->trace,
                  "A trace in Mooncake's published format: lines of JSON with input_length and "
                  "hash_ids")
      ->required();
  command.add_option("--policy", simulate->policy, "Which block goes next (default: cost)")
      ->check(CLI::IsMember({"lru", "lfu", "combined", "cost"}));
  command
      .add_option("--budget-blocks", simulate->budget_blocks,
                  "Blocks of 512 tokens that fit; 0 is unbounded (default: 0)")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  command.add_flag("--json", simulate->json, "Write JSON");
  command.callback([simulate] { (*simulate)(); });
}

}  // namespace cli
