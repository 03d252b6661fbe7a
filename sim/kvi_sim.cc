// kvi_sim: what the core of the cache would do, without a model.
//   kvi_sim --seed N --operations M     core, scheduler and tiers with faults, against a naive model
//   kvi_sim replay --trace FILE --policy NAME|all --budget-blocks N [--json]
//   kvi_sim memory|prefix|cache-ops|grid [--layers N ...] [--json]
//
// Exit codes as kvinfer's: 0 success; 1 failure, or a check failed; 2 command line; 3 file missing or broken; 4 memory.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "scenario_commands.h"
#include "simulate_command.h"
#include "trace_replay.h"

namespace {

using Json = nlohmann::ordered_json;

struct Replay {
  std::string trace_path, policy;
  int64_t budget_blocks = 0;
  bool json = false;

  void operator()() const {
    const std::vector<kvi::TraceRequest> trace = kvi::read_trace_file(trace_path);
    if (policy == "all") {
      print_all(trace);
    } else {
      print_one(replay(trace, policy));
    }
    if (!std::cout.flush()) throw std::runtime_error("cannot write to stdout");
  }

  kvi::ReplayResult replay(const std::vector<kvi::TraceRequest>& trace,
                           std::string_view name) const {
    const auto made = kvi::make_eviction_policy(name);
    return kvi::replay_trace(trace, budget_blocks, *made);
  }

  // The core that preempts, and pages that waste, are not under the replay: both are none.
  static Json to_json(const kvi::ReplayResult& result) {
    return {{"hit_rate", result.hit_rate},
            {"requests", result.requests},
            {"preemptions", 0},
            {"waste_percent", 0}};
  }

  void print_one(const kvi::ReplayResult& result) const {
    if (json) {
      std::cout << to_json(result).dump() << "\n";
      return;
    }
    std::printf(
        "hit rate     %.2f %% of the prompts' tokens\nrequests     %lld\nevictions    %lld\n",
        100 * result.hit_rate, static_cast<long long>(result.requests),
        static_cast<long long>(result.evictions));
    std::fflush(stdout);
  }

  void print_all(const std::vector<kvi::TraceRequest>& trace) const {
    Json results = Json::object();
    std::vector<std::pair<std::string, kvi::ReplayResult>> rows;
    for (const auto& known : kvi::eviction_policies()) {
      rows.emplace_back(known.name, replay(trace, known.name));
    }
    rows.emplace_back("optimum", kvi::replay_trace_optimally(trace, budget_blocks));
    if (json) {
      for (const auto& [name, result] : rows) results[name] = to_json(result);
      std::cout << results.dump() << "\n";
      return;
    }
    std::printf("%-10s %10s %10s %13s\n", "policy", "hit rate", "evictions", "inner victims");
    for (const auto& [name, result] : rows) {
      std::printf("%-10s %8.2f %% %10lld %13lld\n", name.c_str(), 100 * result.hit_rate,
                  static_cast<long long>(result.evictions),
                  static_cast<long long>(result.inner_victims));
    }
    std::fflush(stdout);
  }
};

std::string policy_help() {
  std::string text = "Which block goes next:";
  for (const auto& known : kvi::eviction_policies()) {
    text += std::string("\n  ") + known.name + ": " + known.doc;
  }
  return text + "\n  all: each of them, and the offline optimum";
}

void add_replay(CLI::App& app) {
  auto replay = std::make_shared<Replay>();
  CLI::App& command = *app.add_subcommand("replay",
                                          "Replay a request trace in Mooncake's published format");
  command.add_option("--trace", replay->trace_path, "The trace: JSON lines")->required();
  command.add_option("--policy", replay->policy, policy_help())->required();
  command
      .add_option("--budget-blocks", replay->budget_blocks, "Blocks of 512 tokens; 0: unbounded")
      ->required()
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  command.add_flag("--json", replay->json, "Print one line of JSON");
  command.callback([replay] { (*replay)(); });
}

int exit_code(kvi::Status status) {
  switch (status) {
    case kvi::Status::INVALID_ARGUMENT: return 2;
    case kvi::Status::NOT_FOUND:
    case kvi::Status::IO:
    case kvi::Status::CORRUPT:
    case kvi::Status::UNSUPPORTED: return 3;
    case kvi::Status::OUT_OF_MEMORY:
    case kvi::Status::EXHAUSTED: return 4;
    default: return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    CLI::App app("The core of libkvinfer's cache, simulated without a model");
    app.require_subcommand(0, 1);
    const std::function<bool()> simulate = add_simulation(app);
    add_replay(app);
    add_memory_scenario(app);
    add_prefix_scenario(app);
    add_cache_ops_scenario(app);
    add_grid_scenario(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& success) {
      return app.exit(success);
    } catch (const CLI::ParseError& error) {
      std::cerr << "kvi_sim: " << error.what()
                << "\nTry kvi_sim --help, or kvi_sim replay --help.\n";
      return 2;
    }
    if (!app.get_subcommands().empty()) return 0;
    return simulate() ? 0 : 1;
  } catch (const kvi::Error& error) {
    std::cerr << "kvi_sim: " << kvi::status_name(error.status()) << ": " << error.message() << "\n";
    return exit_code(error.status());
  } catch (const std::exception& error) {
    std::cerr << "kvi_sim: " << error.what() << "\n";
    return 1;
  }
}
