#include "arguments.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <sstream>
#include <system_error>

#include "interrupt.h"
#include "output.h"

namespace cli {
namespace {

// An option whose value goes through a setter of GenerateOptions.
template <typename T>
CLI::Option* add_setting(CLI::App& command, kvinfer::GenerateOptions& options, const char* name,
                         kvinfer::GenerateOptions& (kvinfer::GenerateOptions::*set)(T),
                         const char* help) {
  return command.add_option_function<T>(
      name, [&options, set](const T& value) { (options.*set)(value); }, help);
}

std::string read_all(std::istream& in, const std::string& path) {
  std::ostringstream content;
  if (in.peek() != std::istream::traits_type::eof()) content << in.rdbuf();
  if (content.fail()) in.setstate(std::ios::badbit);
  check_read(in, path);
  return content.str();
}

}  // namespace

uint64_t parse_size(const std::string& option, const std::string& text) {
  const std::string units = "bkmgt";
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string unit = CLI::detail::to_lower(CLI::detail::trim_copy(end));
  const size_t power = unit.empty() ? 0 : units.find(unit[0]);
  const std::string rest = unit.empty() ? "" : unit.substr(1);
  const double bytes = number * std::pow(1024.0, static_cast<double>(power));
  const bool is_unit = power != units.npos && (rest.empty() || rest == "b" || rest == "ib");
  if (end == text.c_str() || !is_unit || !(bytes >= 1 && bytes < 1e18)) {
    throw CLI::ValidationError(option, "'" + text + "' is no size, as 4096, 512MiB or 1.5GiB");
  }
  return static_cast<uint64_t>(bytes);
}

CLI::Option* add_size(CLI::App& command, const std::string& name, std::optional<uint64_t>& bytes,
                      const std::string& help) {
  return command
      .add_option_function<std::string>(
          name, [name, &bytes](const std::string& size) { bytes = parse_size(name, size); }, help)
      ->type_name("SIZE");
}

namespace {

// For unsigned options: the parser would wrap negative numbers.
std::string reject_negative(const std::string& value) {
  return value.find('-') == value.npos ? "" : value + " is negative";
}

}  // namespace

void ModelArguments::add_to(CLI::App& command) {
  command
      .add_option(
          "-m,--model", path,
          "A .gguf file, a folder with one .gguf file, or a folder with .safetensors files, "
          "config.json and tokenizer.json")
      ->required();
  command.add_flag("--json", json, "Write JSON");
}

void ModelArguments::add_threads_to(CLI::App& command) {
  command.add_option("-t,--threads", threads, "Threads (default: the physical cores granted)");
  command
      .add_option("--backend", backend,
                  "cpu (default), cuda, or auto: a GPU where there is one, else the CPU")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, kvinfer::Backend>{{"auto", kvinfer::Backend::automatic},
                                                  {"cpu", kvinfer::Backend::cpu},
                                                  {"cuda", kvinfer::Backend::cuda}}));
  command.add_option("--device", device, "Which of the backend's devices, from 0")
      ->check(reject_negative);
}

kvinfer::Model ModelArguments::open() const {
  Progress progress("loading");
  Interrupt::Scope interrupt;
  kvinfer::ModelOptions options;
  if (threads) options.num_threads(*threads);
  options.backend(backend).device(device);
  options.progress([&](uint64_t done, uint64_t total) {
    progress.show(done, total);
    return !interrupt.happened();
  });
  return kvinfer::Model::open(path, options);
}

kvinfer::Model ModelArguments::open_metadata() const {
  return kvinfer::Model::open(path, kvinfer::ModelOptions().metadata_only());
}

void EngineArguments::add_to(CLI::App& command) {
  add_model_len_to(command);
  add_budget_to(command);
  add_computing_to(command);
}

void EngineArguments::add_model_len_to(CLI::App& command) {
  command.add_option("--max-model-len", max_model_len,
                     "Most tokens of one sequence (default: the model's context)");
}

void EngineArguments::add_budget_to(CLI::App& command) {
  add_size(command, "--kv-budget", kv_budget_bytes, "Bytes that KV pages may take, as 1.5GiB");
}

void EngineArguments::add_computing_to(CLI::App& command) {
  command.add_option("--page-len", page_len, "Tokens of a KV page (default: 16)");
  command.add_flag("--exact", exact, "Keep activations in f32: exact, and slower");
}

kvinfer::EngineOptions EngineArguments::options(const ModelArguments& model,
                                                const kvinfer::Model& opened) const {
  if (max_model_len) check_context(opened, "--max-model-len", *max_model_len);
  kvinfer::EngineOptions options;
  if (model.threads) options.num_threads(*model.threads);
  if (max_model_len) options.max_model_len(*max_model_len);
  if (page_len) options.page_len(*page_len);
  if (kv_budget_bytes) options.kv_budget_bytes(*kv_budget_bytes);
  if (exact) options.exact();
  return options;
}

void check_context(const kvinfer::Model& opened, const std::string& option, uint32_t value) {
  const uint32_t context_len = opened.info().context_len;
  if (context_len == 0 || value <= context_len) return;
  print_warning(option + " " + std::to_string(value) + " is above the model's context of " +
                std::to_string(context_len) + " tokens");
}

void fit_budget(const kvinfer::Model& model, kvinfer::EngineOptions& options) {
  const kvi_engine_options known = options.without_log();
  const kvi_plan plan = model.plan(kvinfer::PlanOptions()
                                       .max_model_len(known.max_model_len)
                                       .max_num_seqs(known.max_sequences)
                                       .max_num_batched_tokens(known.max_batch_tokens)
                                       .block_size(known.page_len));
  // All may prefill at once.
  const uint64_t each = plan.kv_bytes_per_sequence + plan.kv_prefill_bytes;
  options.kv_budget_bytes(std::max(known.kv_budget_bytes, known.max_sequences * each));
}

void SamplingArguments::add_to(CLI::App& command) {
  using Options = kvinfer::GenerateOptions;
  add_setting(command, options, "-n,--max-tokens", &Options::max_tokens,
              "Most tokens to generate; 0 only reads the prompt (default: 256)");
  add_setting(command, options, "--temp", &Options::temperature,
              "Temperature; 0 is greedy (default: 0.8)");
  add_setting(command, options, "--top-k", &Options::top_k,
              "Keep the k most probable tokens; 0 is off (default: 40)");
  add_setting(command, options, "--top-p", &Options::top_p,
              "Keep the tokens that make up this probability; 1 is off (default: 0.95)");
  add_setting(command, options, "--min-p", &Options::min_p,
              "Keep tokens of at least this part of the best one's probability; 0 is off "
              "(default: 0.05)");
  add_setting(command, options, "--seed", &Options::seed,
              "Same seed and tokens give the same text (default: 0)")
      ->check(reject_negative);
  add_setting(command, options, "--repeat-penalty", &Options::repetition_penalty,
              "Divides the logits of tokens that were there; 1 is off (default: 1)");
  add_setting(command, options, "--presence-penalty", &Options::presence_penalty,
              "Subtracted once for each token generated (default: 0)");
  add_setting(command, options, "--frequency-penalty", &Options::frequency_penalty,
              "Subtracted for each time it was generated (default: 0)");
  command
      .add_option_function<std::vector<std::string>>(
          "--stop",
          [this](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) options.stop(text);
          },
          "End before this text; may be given several times")
      ->allow_extra_args(false);
  command.add_flag_callback(
      "--ignore-eos", [this] { options.ignore_eos(); }, "Go on after an end-of-text token");
  command
      .add_option_function<int32_t>(
          "--logprobs",
          [this](const int32_t& count) {
            logprobs = count;
            options.top_logprobs(count);
          },
          "With --json: log-probabilities, and those of the n most probable tokens")
      ->needs(command.get_option("--json"));
}

void InputArguments::add_to(CLI::App& command) {
  auto* prompt = command.add_option("-p,--prompt", text, "The text");
  add_file_to(command);
  command.get_option("--file")->excludes(prompt);
}

void InputArguments::add_file_to(CLI::App& command) {
  command.add_option("-f,--file", file, "Read the text from a file (default, and -: stdin)");
}

std::string InputArguments::read() const {
  if (text) return *text;
  if (file.empty() || file == "-") {
    if (file.empty() && stdin_is_terminal())
      std::cerr << "Reading from the terminal; end with Ctrl-D.\n";
    return read_all(std::cin, "stdin");
  }
  std::ifstream in = open_file(file);
  return read_all(in, file);
}

std::ifstream open_file(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::error_code reason(errno, std::generic_category());
  if (in) {
    if (!std::filesystem::is_directory(path)) return in;
    reason = std::make_error_code(std::errc::is_a_directory);
  }
  throw Failure(ExitCode::file, "cannot read the file " + path + ": " + reason.message());
}

void check_read(const std::istream& in, const std::string& path) {
  if (in.bad()) throw Failure(ExitCode::file, "cannot read " + path);
}

}  // namespace cli
