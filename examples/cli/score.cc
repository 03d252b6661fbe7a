// kvinfer score: what a model thinks of given tokens, teacher-forced.
#include <iostream>
#include <limits>
#include <memory>
#include <numeric>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

struct Score {
  ModelArguments model;
  EngineArguments engine;
  std::string file = "-";

  void operator()() const {
    std::ifstream opened_file;
    if (file != "-") opened_file = open_file(file);
    std::istream& in = file == "-" ? std::cin : opened_file;
    const kvinfer::Model opened = model.open();
    kvinfer::EngineOptions options = engine.options(model, opened).max_sequences(1);
    if (!engine.kv_budget_bytes) fit_budget(opened, options);
    const auto running = kvinfer::Engine::create(opened, options);

    size_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == line.npos) continue;
      print(score(running, line, number));
    }
    check_read(in, file == "-" ? "stdin" : file);
    finish_output();
  }

  static kvinfer::Scores score(const kvinfer::Engine& running, const std::string& line,
                               size_t number) {
    const std::string place = "line " + std::to_string(number) + ": ";
    std::vector<int32_t> tokens;
    try {
      const Json request = Json::parse(line);
      const Json& ids = request.at("tokens");
      if (!ids.is_array()) throw Failure(ExitCode::usage, place + "\"tokens\" is no list of ids");
      for (const Json& id : ids) {
        tokens.push_back(token_id(id, place));
      }
    } catch (const Json::exception& error) {
      throw Failure(ExitCode::usage, place + "expected {\"tokens\": [ids]}, but: " + error.what());
    }
    try {
      return running.score(tokens);
    } catch (const kvinfer::Error& error) {
      throw Failure(exit_code(error),
                    std::string(error.status_name()) + ": " + place + message_of(error));
    }
  }

  // The library says which ids the vocabulary has; here is that they are ids at all.
  static int32_t token_id(const Json& id, const std::string& place) {
    constexpr int32_t kLargest = std::numeric_limits<int32_t>::max();
    // Integers of JSON are signed where they are negative.
    if (id.is_number_unsigned() && id.get<uint64_t>() <= kLargest) return id.get<int32_t>();
    throw Failure(ExitCode::usage, place + id.dump() + " is no token id: an integer from 0 to " +
                                       std::to_string(kLargest));
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
  score->model.add_threads_to(command);
  command.add_option("-f,--file", score->file, "Read from a file (default: stdin)");
  score->engine.add_to(command);
  command.callback([score] { (*score)(); });
}

}  // namespace cli
