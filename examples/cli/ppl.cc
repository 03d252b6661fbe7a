// kvinfer ppl: perplexity of a text, in consecutive windows whose first tokens are not scored.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"

namespace cli {
namespace {

struct Ppl {
  ModelArguments model;
  EngineArguments engine;
  InputArguments input;
  uint32_t ctx = 512;

  void operator()() const {
    if (ctx < 2) throw Failure(ExitCode::usage, "--ctx must be at least 2");
    const std::string text = input.read();
    const kvinfer::Model opened = model.open();
    const std::vector<int32_t> tokens = opened.tokenize(text);
    if (tokens.size() < 2) throw Failure(ExitCode::usage, "the text has fewer than two tokens");

    kvinfer::EngineOptions options = engine.options(model).max_sequences(1).max_model_len(ctx);
    if (!engine.kv_budget_bytes) fit_budget(opened, options);
    const auto running = kvinfer::Engine::create(opened, options);

    Progress progress("scoring");
    Interrupt::Scope interrupt;
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
      if (interrupt.happened()) throw Failure(ExitCode::interrupted, "interrupted");
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
  CLI::App& command = *app.add_subcommand("ppl", "Measure the perplexity of a text");
  ppl->model.add_to(command);
  ppl->input.add_file_to(command);
  command.add_option("--ctx", ppl->ctx, "Tokens of a window (default: 512)");
  ppl->engine.add_to(command);
  command.callback([ppl] { (*ppl)(); });
}

}  // namespace cli
