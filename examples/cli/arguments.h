// Arguments that several commands share, and the library's options that they become.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <fstream>
#include <istream>
#include <kvinfer/kvinfer.hpp>
#include <optional>
#include <string>
#include <vector>

namespace cli {

// A number of bytes, as 4096, 512MiB or 1.5GiB; a unit is a power of 1024 however it is written. option: named
// by the error.
uint64_t parse_size(const std::string& option, const std::string& text);
CLI::Option* add_size(CLI::App& command, const std::string& name, std::optional<uint64_t>& bytes,
                      const std::string& help);

// -m and --json: of every command; -t, --backend and --device: of those that compute.
struct ModelArguments {
  std::string path;
  std::optional<uint32_t> threads;
  kvinfer::Backend backend = kvinfer::Backend::cpu;
  uint32_t device = 0;
  bool json = false;

  void add_to(CLI::App& command);
  void add_threads_to(CLI::App& command);
  kvinfer::Model open() const;  // with its weights; shows progress
  kvinfer::Model open_metadata() const;
};

// --max-model-len, --kv-budget, --page-len, --exact. A command that fixes one of the first two itself
// adds the others alone.
struct EngineArguments {
  std::optional<uint32_t> max_model_len, page_len;
  std::optional<uint64_t> kv_budget_bytes;
  bool exact = false;

  void add_to(CLI::App& command);
  void add_model_len_to(CLI::App& command);
  void add_budget_to(CLI::App& command);
  void add_computing_to(CLI::App& command);
  // Warns where sequences may outgrow the context of the opened model.
  kvinfer::EngineOptions options(const ModelArguments& model, const kvinfer::Model& opened) const;
};

// Warns on stderr where an option's value is above the model's context.
void check_context(const kvinfer::Model& opened, const std::string& option, uint32_t value);

// -n, --temp and the other settings of run and chat. Added after ModelArguments: some need --json.
struct SamplingArguments {
  kvinfer::GenerateOptions options;
  std::optional<int32_t> logprobs;

  void add_to(CLI::App& command);
};

// Raises the budget to what the options can use: a measurement shall not end for want of it.
void fit_budget(const kvinfer::Model& model, kvinfer::EngineOptions& options);

// Opens a file to read; throws Failure where that is not possible, as for a folder.
std::ifstream open_file(const std::string& path);
// Throws Failure where reading stopped at something else than the end.
void check_read(const std::istream& in, const std::string& path);

// The text of -p TEXT, else of -f FILE ("-" is stdin), else of stdin.
struct InputArguments {
  std::optional<std::string> text;
  std::string file;

  void add_to(CLI::App& command);
  void add_file_to(CLI::App& command);
  std::string read() const;
};

}  // namespace cli
