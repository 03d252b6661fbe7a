// kvinfer ppl: perplexity of a text, in consecutive windows whose first tokens are not scored.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

constexpr int kMostTokens = 1 << 24;  // of a sequence, to the library

struct Ppl {
  ModelArguments model;
  EngineArguments engine;
  InputArguments input;
  uint32_t ctx = 512;

  void operator()() const {
    const std::string text = input.read();
    const kvinfer::Model opened = model.open();
    const std::vector<int32_t> tokens = opened.tokenize(text);
    check_context(opened, "--ctx", ctx);
    if (tokens.size() < 2) throw Failure(ExitCode::usage, "the text has fewer than two tokens");

    kvinfer::EngineOptions options =
        engine.options(model, opened).max_sequences(1).max_model_len(ctx);
    if (!engine.kv_budget_bytes) fit_budget(opened, options);
    const auto running = kvinfer::Engine::create(opened, options);

    Progress progress("scoring");
    double sum = 0;
    size_t num_scored = 0;
    for (size_t first = 0; tokens.size() - first >= 2;) {
      const size_t size = std::min<size_t>(ctx, tokens.size() - first);
      const auto begin = tokens.begin() + static_cast<ptrdiff_t>(first);
      for (float logprob : running.score({begin, begin + static_cast<ptrdiff_t>(size)}).logprobs) {
        sum += logprob;
        ++num_scored;
      }
      first += size;
      progress.show(first, tokens.size());
    }
    progress.clear();
    const double perplexity = std::exp(-sum / static_cast<double>(num_scored));
    if (model.json) {
      print_json({{"perplexity", perplexity}, {"tokens", num_scored}});
    } else {
      std::cout << "perplexity " << perplexity << " over " << num_scored << " tokens\n";
    }
    finish_output();
  }
};

}  // namespace

void add_ppl(CLI::App& app) {
  auto ppl = std::make_shared<Ppl>();
  CLI::App& command = *app.add_subcommand(
      "ppl",
      "Measure the perplexity of a text, in consecutive windows. The first token of each is not "
      "scored. Only the first window begins with BOS, so where a model relies on it, as Gemma "
      "does, a small --ctx gives a much higher perplexity");
  ppl->model.add_to(command);
  ppl->model.add_threads_to(command);
  ppl->input.add_file_to(command);
  command.add_option("--ctx", ppl->ctx, "Tokens of a window (default: 512)")
      ->check(CLI::Range(2, kMostTokens));
  ppl->engine.add_budget_to(command);
  ppl->engine.add_computing_to(command);
  command.callback([ppl] { (*ppl)(); });
}

}  // namespace cli
