// kvinfer score: what a model thinks of given tokens, teacher-forced.
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>

#include "arguments.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"

namespace cli {
namespace {

struct Score {
  ModelArguments model;
  EngineArguments engine;
  std::string file = "-";

  void operator()() const {
    std::ifstream opened_file;
    if (file != "-") {
      opened_file.open(file);
      if (!opened_file) throw Failure(ExitCode::file, "cannot read the file " + file);
    }
    std::istream& in = file == "-" ? std::cin : opened_file;
    const kvinfer::Model opened = model.open();
    kvinfer::EngineOptions options = engine.options(model).max_sequences(1);
    if (!engine.kv_budget_bytes) fit_budget(opened, options);
    const auto running = kvinfer::Engine::create(opened, options);

    size_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == line.npos) continue;
      print(score(running, line, number));
    }
    finish_output();
  }

  static kvinfer::Scores score(const kvinfer::Engine& running, const std::string& line,
                               size_t number) {
    const std::string place = "line " + std::to_string(number) + ": ";
    std::vector<int32_t> tokens;
    try {
      tokens = Json::parse(line).at("tokens").get<std::vector<int32_t>>();
    } catch (const Json::exception& error) {
      throw Failure(ExitCode::usage, place + "expected {\"tokens\": [ids]}, but: " + error.what());
    }
    try {
      return running.score(tokens);
    } catch (const kvinfer::Error& error) {
      throw Failure(exit_code(error),
                    std::string(error.status_name()) + ": " + place + error.message());
    }
  }

  void print(const kvinfer::Scores& scores) const {
    if (model.json) {
      print_json({{"top1", scores.top1}, {"logprob", scores.logprobs}});
      return;
    }
    const double sum = std::accumulate(scores.logprobs.begin(), scores.logprobs.end(), 0.0);
    std::cout << "log-probability " << sum << ", mean "
              << sum / static_cast<double>(scores.logprobs.size()) << std::endl;
  }
};

}  // namespace

void add_score(CLI::App& app) {
  auto score = std::make_shared<Score>();
  CLI::App& command = *app.add_subcommand(
      "score", "Score given tokens: JSON lines {\"tokens\": [ids]} in, one answer a line");
  score->model.add_to(command);
  command.add_option("-f,--file", score->file, "Read from a file (default: stdin)");
  score->engine.add_to(command);
  command.callback([score] { (*score)(); });
}

}  // namespace cli
