#include "arguments.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>

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

std::string read_all(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

}  // namespace

void ModelArguments::add_to(CLI::App& command) {
  command.add_option("-m,--model", path, "GGUF file, .safetensors file, or a folder of one")
      ->required();
  command.add_option("-t,--threads", threads, "Threads (default: the physical cores granted)");
  command.add_flag("--json", json, "Write JSON");
}

kvinfer::Model ModelArguments::open() const {
  Progress progress("loading");
  Interrupt::Scope interrupt;
  kvinfer::ModelOptions options;
  if (threads) options.num_threads(*threads);
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
  command.add_option("--max-model-len", max_model_len,
                     "Most tokens of one sequence (default: the model's context)");
  command.add_option("--kv-budget", kv_budget_bytes, "Bytes that KV pages may take, as 2GiB")
      ->transform(CLI::AsSizeValue(false));
  command.add_option("--page-len", page_len, "Tokens of a KV page (default: 16)");
  command.add_flag("--exact", exact, "Keep activations in f32: exact, and slower");
}

kvinfer::EngineOptions EngineArguments::options(const ModelArguments& model) const {
  kvinfer::EngineOptions options;
  if (model.threads) options.num_threads(*model.threads);
  if (max_model_len) options.max_model_len(*max_model_len);
  if (page_len) options.page_len(*page_len);
  if (kv_budget_bytes) options.kv_budget_bytes(*kv_budget_bytes);
  if (exact) options.exact();
  return options;
}

void fit_budget(const kvinfer::Model& model, kvinfer::EngineOptions& options) {
  options.kv_budget_bytes(
      std::max(options.without_log().kv_budget_bytes, model.plan(options).kv_bytes));
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
              "Same seed and tokens give the same text (default: 0)");
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
  command.add_option_function<int32_t>(
      "--logprobs",
      [this](const int32_t& count) {
        logprobs = count;
        options.top_logprobs(count);
      },
      "With --json: log-probabilities, and those of the n most probable tokens");
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
    return read_all(std::cin);
  }
  std::ifstream in(file, std::ios::binary);
  std::string content = read_all(in);
  if (!in) throw Failure(ExitCode::file, "cannot read the file " + file);
  return content;
}

}  // namespace cli
