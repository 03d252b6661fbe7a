#include "scenario_commands.h"

#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cache_ops_scenario.h"
#include "grid_scenario.h"
#include "memory_scenario.h"
#include "prefix_scenario.h"

namespace {

using Json = nlohmann::ordered_json;

constexpr int kDecodingSequences = 256;

// What all scenarios take: a model's shape (default: Gemma 3 270M's), --seed and --json.
struct Scenario {
  kvi::KvShape shape;
  uint64_t seed = 1;
  bool json = false;

  void add_to(CLI::App& command) {
    const auto add = [&](const char* name, int& value, int low, int high, const char* help) {
      command.add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
    };
    add("--layers", shape.num_layers, 1, 1 << 16, "Layers with K and V");
    add("--window-layers", shape.num_window_layers, 0, 1 << 16,
        "Those that hold their window only");
    add("--window", shape.window, 0, 1 << 24, "Tokens that they see");
    add("--kv-heads", shape.num_kv_heads, 1, 1 << 16, "KV heads of a layer");
    add("--head-dim", shape.head_dim, 1, 1 << 16, "Values of a head");
    add("--page-len", shape.page_len, 16, 256, "Tokens of a page");
    command.add_option("--seed", seed, "Of lengths and tokens")->capture_default_str();
    command.add_flag("--json", json, "Print one line of JSON");
  }
  void check() const {
    if (shape.num_window_layers > shape.num_layers) {
      throw CLI::ValidationError("--window-layers", "there are fewer --layers");
    }
    if (shape.num_window_layers > 0 && shape.window == 0) {
      throw CLI::ValidationError("--window", "window layers need one");
    }
  }
};

void print(const Json& results) { std::cout << Json{{"results", results}}.dump() << "\n"; }
void end_output() {
  std::fflush(stdout);
  if (!std::cout.flush()) throw std::runtime_error("cannot write to stdout");
}

struct Memory : Scenario {
  void operator()() const {
    check();
    const std::vector<kvi::MemoryResult> measured = kvi::measure_memory(shape, seed);
    Json results = Json::array();
    for (const kvi::MemoryResult& result : measured) {
      results.push_back({{"name", result.name},
                         {"context", result.context},
                         {"value", result.value},
                         {"page_bytes", result.page_bytes},
                         {"shape", result.shape}});
    }
    if (json) print(results);
    for (const kvi::MemoryResult& result : measured) {
      if (json) break;
      std::printf("%-38s context %6lld, pages of %9.1f KiB (%s): %8.2f\n", result.name.c_str(),
                  static_cast<long long>(result.context),
                  static_cast<double>(result.page_bytes) / 1024, result.shape.c_str(),
                  result.value);
    }
    end_output();
  }
};

struct Prefix : Scenario {
  kvi::PrefixRequests requests;

  void operator()() const {
    check();
    const double saved = kvi::prefix_saved_percent(shape, requests, seed);
    if (json) {
      std::cout << Json{{"memory_saved_percent", saved}}.dump() << "\n";
    } else {
      std::printf("%.2f %% of the KV memory saved\n", saved);
    }
    end_output();
  }
};

struct CacheOps : Scenario {
  int operations = 1000;
  std::vector<int> pages = {1000, 10'000, 100'000, 1'000'000};

  void operator()() const {
    check();
    std::vector<kvi::OperationCost> costs = kvi::measure_cache_operations(shape, operations, seed);
    for (int count : pages) {
      costs.push_back(kvi::measure_scheduler_step(kDecodingSequences, count, operations, seed));
    }
    Json results = Json::array();
    for (const kvi::OperationCost& cost : costs) {
      results.push_back({{"name", cost.name},
                         {"context", cost.context},
                         {"count", cost.count},
                         {"median_us", cost.median_us},
                         {"p99_us", cost.p99_us},
                         {"bytes", cost.bytes}});
    }
    if (json) print(results);
    if (!json) {
      std::printf("%-15s %9s %7s %12s %12s %12s\n", "operation", "context", "count", "median us",
                  "p99 us", "bytes");
    }
    for (const kvi::OperationCost& cost : costs) {
      if (json) break;
      std::printf("%-15s %9lld %7lld %12.2f %12.2f %12.0f\n", cost.name.c_str(),
                  static_cast<long long>(cost.context), static_cast<long long>(cost.count),
                  cost.median_us, cost.p99_us, cost.bytes);
    }
    end_output();
  }
};

struct Grid : Scenario {
  kvi::GridOptions options;

  void operator()() const {
    check();
    const std::vector<kvi::GridResult> measured = kvi::measure_grid(shape, options);
    if (json) {
      Json results = Json::array();
      for (const kvi::GridResult& result : measured) {
        results.push_back({{"name", result.name},
                           {"prompt_len", result.prompt_len},
                           {"sequences", result.sequences},
                           {"kv_bytes", result.kv_bytes},
                           {"kv_bytes_from", result.is_allocated ? "allocated" : "computed"},
                           {"bytes_per_token", result.bytes_per_token},
                           {"budget_bytes", options.budget_bytes},
                           {"sequences_in_budget", result.sequences_in_budget}});
      }
      print(results);
    } else {
      std::printf("%-11s %10s %9s %15s %15s %19s\n", "arrangement", "prompt len", "sequences",
                  "KV bytes", "bytes a token", "sequences in budget");
      for (const kvi::GridResult& result : measured) {
        std::printf("%-11s %10d %9d %15llu %15.1f %19d\n", result.name.c_str(), result.prompt_len,
                    result.sequences, static_cast<unsigned long long>(result.kv_bytes),
                    result.bytes_per_token, result.sequences_in_budget);
      }
    }
    end_output();
  }
};

template <typename T>
CLI::App& add(CLI::App& app, const std::shared_ptr<T>& scenario, const char* name,
              const char* help) {
  CLI::App& command = *app.add_subcommand(name, help);
  scenario->add_to(command);
  command.callback([scenario] { (*scenario)(); });
  return command;
}

}  // namespace

void add_memory_scenario(CLI::App& app) {
  add(app, std::make_shared<Memory>(), "memory",
      "Pages against contiguous reservations, and hybrids against all-global layers");
}

void add_prefix_scenario(CLI::App& app) {
  auto prefix = std::make_shared<Prefix>();
  CLI::App& command = add(app, prefix, "prefix", "What sharing a prefix saves of memory");
  command.add_option("--requests", prefix->requests.num_requests, "How many share it")
      ->required()
      ->check(CLI::Range(1, 1'000'000));
  command.add_option("--prefix-len", prefix->requests.prefix_len, "Tokens that all begin with")
      ->required()
      ->check(CLI::Range(0, 1 << 23));
  command.add_option("--suffix-len", prefix->requests.suffix_len, "Tokens of each request's own")
      ->required()
      ->check(CLI::Range(1, 1 << 23));
  command.add_flag("--growing", prefix->requests.is_growing,
                   "Turns of one conversation: each goes on after the one before");
}

void add_cache_ops_scenario(CLI::App& app) {
  auto ops = std::make_shared<CacheOps>();
  CLI::App& command = add(app, ops, "cache-ops", "Time and bytes of the cache's operations");
  command.add_option("--operations", ops->operations, "Of each kind")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command
      .add_option("--pages", ops->pages, "Cached pages beside a scheduler's step, as 1000,100000")
      ->delimiter(',')
      ->check(CLI::Range(1, 10'000'000));
}

void add_grid_scenario(CLI::App& app) {
  auto grid = std::make_shared<Grid>();
  CLI::App& command = add(app, grid, "grid",
                          "KV memory of contiguous, paged, window and hybrid layers");
  command.add_option("--prompt-len", grid->options.prompt_lens, "Tokens of a prompt, as 128,1024")
      ->delimiter(',')
      ->required()
      ->check(CLI::Range(1, 1 << 23));
  command.add_option("--sequences", grid->options.sequences, "Sequences at once, as 1,4")
      ->delimiter(',')
      ->required()
      ->check(CLI::Range(1, 4096));
  command.add_option("--gen-len", grid->options.gen_len, "Tokens that follow the prompt")
      ->check(CLI::Range(0, 1 << 23))
      ->capture_default_str();
  command
      .add_option("--reserved-len", grid->options.reserved_len,
                  "Tokens reserved for a contiguous sequence, if it does not become longer")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command
      .add_option("--budget-bytes", grid->options.budget_bytes,
                  "Of which it is said how many sequences fit")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 44))
      ->capture_default_str();
}
