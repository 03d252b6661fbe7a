#include "plan_table.h"

#include <cstdio>
#include <iostream>
#include <kvinfer/kvinfer.hpp>
#include <string>

#include "output.h"
#include "shapes.h"

namespace cli {
namespace {

constexpr uint32_t kLens[] = {4096, 32768, 131072};

std::string count_text(uint64_t count) {
  std::string text = std::to_string(count);
  for (int place = static_cast<int>(text.size()) - 3; place > 0; place -= 3) {
    text.insert(static_cast<size_t>(place), ",");
  }
  return text;
}

}  // namespace

void print_plan_table(uint64_t memory_bytes, double utilization) {
  std::cout << "| model | weights | KV a token |";
  for (uint32_t len : kLens) std::cout << " " << len / 1024 << "k |";
  std::cout << " KV exceeds weights at |\n|---|---|---|---|---|---|---|\n";
  for (const NamedShape& named : named_shapes()) {
    // One thread, so that the table does not depend on the machine.
    kvinfer::PlanOptions options;
    options.device_memory_bytes(memory_bytes).gpu_memory_utilization(utilization).num_threads(1);
    kvi_plan plan = kvinfer::plan(named.shape, options);
    std::cout << "| " << named.name << " | " << format_bytes(plan.weights_bytes) << " | "
              << format_bytes(plan.kv_bytes_per_token) << " |";
    for (uint32_t len : kLens) {
      plan = kvinfer::plan(named.shape, options.max_model_len(len));
      std::cout << " " << format_bytes(plan.kv_bytes_per_sequence) << ", "
                << count_text(plan.max_sequences) << " |";
    }
    std::cout << " " << count_text(plan.kv_exceeds_weights_len) << " |\n";
  }
}

}  // namespace cli
