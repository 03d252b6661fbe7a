// The simulator's own options on the command line: what kvi_sim does without a subcommand.
#include "simulate_command.h"

#include <map>
#include <memory>

#include "base/error.h"
#include "sim/simulate.h"

namespace {

using kvi::sim::Groups;

struct Arguments {
  kvi::sim::SimulateOptions simulate;
  std::string seeds, kept, faults = "all";
  uint64_t seed = 1;
  bool does_not_shrink = false;
};

std::string fault_help() {
  std::string text = "none, all, or names separated by commas:";
  for (const std::string_view name : kvi::sim::kFaultNames) text += " " + std::string(name);
  return text;
}

void add_options(CLI::App& app, Arguments& arguments) {
  kvi::sim::SimulateOptions& simulate = arguments.simulate;
  auto* seed = app.add_option("--seed", arguments.seed, "What happens follows from it alone");
  app.add_option("--seeds", arguments.seeds, "A..B: one after the other")->excludes(seed);
  app.add_option("--operations", simulate.num_operations, "In each seed's history")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  const std::map<std::string, Groups> groups = {
      {"full", Groups::full}, {"hybrid", Groups::hybrid}, {"window", Groups::window}};
  app.add_option("--groups", simulate.world.groups, "Layer groups: full, hybrid or window; by seed")
      ->transform(CLI::CheckedTransformer(groups));
  app.add_option("--page-bytes", simulate.world.page_bytes, "Of a page of 4 tokens; by seed")
      ->check(CLI::Range(64, 1 << 20));
  app.add_option("--faults", arguments.faults, fault_help())->capture_default_str();
  app.add_option("--check-every", simulate.world.check_every,
                 "Operations between two checks of all that the core knows")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--keep", arguments.kept, "Only these operations of the history: 3,17,20-25");
  app.add_flag("--no-shrink", arguments.does_not_shrink, "Report a failure's history as it is");
  app.add_flag("--cover", simulate.covers, "Fail where a path of the core was not gone at all");
  app.add_flag("--verbose", simulate.world.verbose, "Tell every operation");
}

bool run_simulation(Arguments& arguments) {
  kvi::sim::SimulateOptions& simulate = arguments.simulate;
  simulate.first_seed = simulate.last_seed = arguments.seed;
  if (!arguments.seeds.empty()) {
    const size_t dots = arguments.seeds.find("..");
    if (dots == std::string::npos) {
      throw kvi::Error(kvi::Status::INVALID_ARGUMENT, "--seeds takes A..B");
    }
    simulate.first_seed = kvi::sim::parse_number(arguments.seeds.substr(0, dots));
    simulate.last_seed = kvi::sim::parse_number(arguments.seeds.substr(dots + 2));
    if (simulate.last_seed < simulate.first_seed) {
      throw kvi::Error(kvi::Status::INVALID_ARGUMENT, "--seeds takes A..B, the smaller one first");
    }
  }
  simulate.shrinks = !arguments.does_not_shrink;
  simulate.faults = kvi::sim::parse_faults(arguments.faults);
  if (!arguments.kept.empty()) simulate.kept = kvi::sim::parse_numbers(arguments.kept);
  return kvi::sim::simulate(simulate);
}

}  // namespace

std::function<bool()> add_simulation(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  add_options(app, *arguments);
  return [arguments] { return run_simulation(*arguments); };
}
