// The scenarios of kvinfer bench: what the cache is worth, on a model or on the bare core.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "arguments.h"
#include "output.h"

namespace cli {

struct ScenarioArguments {
  const ModelArguments& model;
  const EngineArguments& engine;
  std::vector<uint32_t> prompt_lens, sequences;
  std::optional<uint32_t> gen_len, repeats;
};

// Each prints what it measured.
void bench_memory(const ScenarioArguments& arguments);
void bench_prefix(const ScenarioArguments& arguments);
void bench_swap(const ScenarioArguments& arguments);
void bench_cache_ops(const ScenarioArguments& arguments);
void bench_grid(const ScenarioArguments& arguments);

}  // namespace cli
