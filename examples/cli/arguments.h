// Arguments that several commands share, and the library's options that they become.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <kvinfer/kvinfer.hpp>
#include <optional>
#include <string>
#include <vector>

namespace cli {

// -m, -t, --json: of every command.
struct ModelArguments {
  std::string path;
  std::optional<uint32_t> threads;
  bool json = false;

  void add_to(CLI::App& command);
  kvinfer::Model open() const;  // with its weights; shows progress
  kvinfer::Model open_metadata() const;
};

// --max-model-len, --kv-budget, --page-len, --exact.
struct EngineArguments {
  std::optional<uint32_t> max_model_len, page_len;
  std::optional<uint64_t> kv_budget_bytes;
  bool exact = false;

  void add_to(CLI::App& command);
  kvinfer::EngineOptions options(const ModelArguments& model) const;
};

// -n, --temp and the other settings of run and chat.
struct SamplingArguments {
  kvinfer::GenerateOptions options;
  std::optional<int32_t> logprobs;

  void add_to(CLI::App& command);
};

// Raises the budget to what the options can use: a measurement shall not end for want of it.
void fit_budget(const kvinfer::Model& model, kvinfer::EngineOptions& options);

// The text of -p TEXT, else of -f FILE ("-" is stdin), else of stdin.
struct InputArguments {
  std::optional<std::string> text;
  std::string file;

  void add_to(CLI::App& command);
  void add_file_to(CLI::App& command);
  std::string read() const;
};

}  // namespace cli
