// kvinfer bench --scenario memory and cache-ops: the bare core over the model's shape. kvi_sim measures.
#include <iostream>

#include "core_program.h"
#include "scenarios.h"

namespace cli {
namespace {

void measure(const std::string& scenario, const ScenarioArguments& arguments) {
  const kvinfer::Model model = arguments.model.open_metadata();
  const uint32_t page_len = arguments.engine.options(arguments.model, model).without_log().page_len;
  std::vector<std::string> command = {scenario};
  for (const std::string& argument : core_shape_arguments(model.info(), page_len)) {
    command.push_back(argument);
  }
  if (arguments.model.json) {
    print_json(ask_core_program(command));
  } else {
    std::cout << run_core_program(command);
  }
  finish_output();
}

}  // namespace

void bench_memory(const ScenarioArguments& arguments) { measure("memory", arguments); }
void bench_cache_ops(const ScenarioArguments& arguments) { measure("cache-ops", arguments); }

}  // namespace cli
