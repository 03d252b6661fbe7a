// What the measuring commands share: engines side by side, random prompts, timed requests, tables.
#pragma once

#include <cstdint>
#include <kvinfer/kvinfer.hpp>
#include <vector>

#include "output.h"

namespace cli {

using Tokens = std::vector<int32_t>;

// What the C++ interface has no setters for goes into the C struct.
kvinfer::Engine create_engine(const kvinfer::Model& model, const kvi_engine_options& options);
// Bytes for a sequence of max_model_len tokens, while it is prefilled.
uint64_t bytes_per_sequence(const kvinfer::Model& model, const kvi_engine_options& options);

Tokens random_tokens(const kvinfer::Model& model, uint64_t seed, uint32_t count);

struct Answer {
  kvi_usage usage;
  Tokens tokens;
};
// Greedy, just num_tokens; throws Failure where it ends early.
Answer answer(kvinfer::Session& session, uint32_t num_tokens);
Answer answer(const kvinfer::Engine& engine, const Tokens& prompt, uint32_t num_tokens);
// A timing counts only where both generated the same.
void require_equal(const Answer& a, const Answer& b, const std::string& what);

double median(std::vector<double> values);

// All sequences together, each with a random prompt of its own.
struct Throughput {
  double prefill = 0, decode = 0;  // tokens per second
  uint64_t kv_bytes = 0;           // of the pages that they hold at the end
};
Throughput measure_throughput(const kvinfer::Engine& engine, const kvinfer::Model& model,
                              uint32_t num_sequences, uint32_t prompt_len, uint32_t gen_len,
                              uint64_t seed);

// {"results": rows} on a line, or a table of them.
void print_results(const Json& rows, bool json);

}  // namespace cli
