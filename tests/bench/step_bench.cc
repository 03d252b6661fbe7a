// Where the time of a step goes: prefill and decode of random models in real shapes.
//
//   step_bench [--model smollm2|gemma3] [--threads N] [--isa NAME] [--prompt N] [--context N]
//              [--sequences N] [--layers N] [--rounds N]
//
// Verifies first that a token decoded alone has the bits it has inside a prefill chunk. Times are the
// least of several rounds, of whole steps and of each op: other work on the machine only ever adds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "base/os_cpu.h"
#include "bench/real_shapes.h"
#include "support/synthetic_model.h"

namespace kvi::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Times each op of another executor.
class TimedExecutor final : public Executor {
 public:
  enum Op { kEmbed, kQkv, kAttention, kOut, kMlp, kHead, kNumOps };
  static constexpr const char* kNames[] = {
      "embed", "qkv_rope_store", "attention", "out_residual", "mlp", "head"};

  explicit TimedExecutor(Executor& inner) : inner_(inner) {}
  double least_seconds[kNumOps];  // of one call, since reset
  void reset() { std::fill(std::begin(least_seconds), std::end(least_seconds), 1e9); }

  uint64_t scratch_bytes() const override { return inner_.scratch_bytes(); }
  void begin_step(const BatchRows& batch) override { inner_.begin_step(batch); }
  void embed(const EmbeddingWeights& weights, std::span<const int32_t> ids) override {
    timed(kEmbed, [&] { inner_.embed(weights, ids); });
  }
  void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) override {
    timed(kQkv, [&] { inner_.qkv_rope_store(weights, kv); });
  }
  void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) override {
    timed(kAttention, [&] { inner_.attention(weights, segments); });
  }
  void out_residual(const AttentionWeights& weights) override {
    timed(kOut, [&] { inner_.out_residual(weights); });
  }
  void mlp(const MlpWeights& weights) override {
    timed(kMlp, [&] { inner_.mlp(weights); });
  }
  void end_layers() override { inner_.end_layers(); }
  void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) override {
    timed(kHead, [&] { inner_.head(weights, rows, logits); });
  }

 private:
  template <typename Call>
  void timed(Op op, const Call& call) {
    const auto start = Clock::now();
    call();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    least_seconds[op] = std::min(least_seconds[op], seconds);
  }
  Executor& inner_;
};

struct Options {
  SyntheticConfig config = smollm2_shape();
  int num_threads = default_num_threads();
  Isa isa = best_isa();
  int prompt_len = 512, context_len = 512, num_sequences = 1, num_rounds = 20;
};

std::vector<int32_t> tokens_of(int count) {
  std::vector<int32_t> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = i * 31 % 1000;
  return tokens;
}

// The least seconds of a step and of a call of each op, over rounds. Beside other work no whole step may
// be undisturbed, so what the least calls add up to is shown too.
void measure(const char* name, const Options& options, const SyntheticModel& model,
             TimedExecutor& executor, SyntheticRun& run,
             const std::vector<SyntheticChunk>& chunks) {
  int num_tokens = 0;
  std::vector<int32_t> last_rows;
  for (const SyntheticChunk& chunk : chunks) {
    num_tokens += static_cast<int>(chunk.token_ids.size());
    last_rows.push_back(num_tokens - 1);
  }
  std::vector<float> logits(last_rows.size() * model.config().vocab_size);
  double best = 1e9;
  executor.reset();
  for (int round = 0; round < options.num_rounds; ++round) {
    const auto start = Clock::now();
    run.run_layers(chunks);
    executor.head(model.head(), last_rows, logits.data());
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::printf("%s: %.1f tokens/s, a step %.3f ms;", name, num_tokens / best, best * 1e3);
  double sum = 0;
  for (int op = 0; op < TimedExecutor::kNumOps; ++op) {
    const bool once = op == TimedExecutor::kEmbed || op == TimedExecutor::kHead;
    sum += executor.least_seconds[op] * (once ? 1 : model.config().num_layers);
    std::printf(" %s %.1f,", TimedExecutor::kNames[op], executor.least_seconds[op] * 1e6);
  }
  std::printf(" us a call, in all %.3f ms\n", sum * 1e3);
}

int bench(Options options) {
  options.config.max_context = std::max(options.prompt_len, options.context_len) + 16;
  auto backend = make_cpu_backend(options.isa);
  const SyntheticModel model(*backend, options.config, 1, false);
  const int max_rows = std::max(options.prompt_len, options.num_sequences);
  auto inner = backend->make_executor(model.executor_shape(max_rows, options.num_sequences),
                                      {options.num_threads, Precision::int8_activations});
  TimedExecutor executor(*inner);
  SyntheticRun run(model, executor, options.num_sequences);
  std::printf("isa %s, threads %d, weights %.1f MB, scratch %.1f MB\n", isa_name(options.isa),
              options.num_threads, model.weight_bytes() / 1e6, inner->scratch_bytes() / 1e6);

  const std::vector<int32_t> tokens = tokens_of(options.context_len + 1);
  std::vector<SyntheticChunk> prompts, decodes;
  for (int s = 0; s < options.num_sequences; ++s) {
    for (int first = 0; first < options.context_len; first += max_rows) {
      const int count = std::min(max_rows, options.context_len - first);
      run.run_layers({{s, first, {tokens.begin() + first, tokens.begin() + first + count}}});
    }
    decodes.push_back({s, options.context_len, {tokens.back()}});
  }
  const int few = std::min({8, options.context_len, max_rows - 1});
  const std::vector<float> alone = run.step({decodes[0]});
  const std::vector<float> chunk = run.step(
      {{0, options.context_len - few, {tokens.end() - few - 1, tokens.end()}}});
  if (std::memcmp(alone.data(), chunk.data() + chunk.size() - alone.size(), alone.size() * 4) !=
      0) {
    std::printf("WRONG: a decoded token differs from a prefilled one\n");
    return 1;
  }
  measure("decode", options, model, executor, run, decodes);
  prompts.push_back(
      {0, std::max(0, options.context_len - options.prompt_len), tokens_of(options.prompt_len)});
  options.num_rounds = std::max(1, options.num_rounds / 5);
  measure("prefill", options, model, executor, run, prompts);
  return 0;
}

int usage() {
  std::fprintf(stderr,
               "usage: step_bench [--model smollm2|gemma3] [--threads N] [--isa NAME] [--prompt N] "
               "[--context N] [--sequences N] [--layers N] [--rounds N]\n");
  return 2;
}

int main_with(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    const std::string name = argv[i], value = argv[i + 1];
    const int number = std::atoi(value.c_str());
    if (name == "--model")
      options.config = value == "gemma3" ? gemma3_shape() : smollm2_shape();
    else if (name == "--layers")
      options.config.num_layers = number;
    else if (name == "--threads")
      options.num_threads = number;
    else if (name == "--prompt")
      options.prompt_len = number;
    else if (name == "--context")
      options.context_len = number;
    else if (name == "--sequences")
      options.num_sequences = number;
    else if (name == "--rounds")
      options.num_rounds = number;
    else if (name == "--isa") {
      for (Isa isa : kAllIsas) {
        if (value == isa_name(isa)) options.isa = isa;
      }
    } else
      return usage();
  }
  return bench(options);
}

}  // namespace
}  // namespace kvi::cpu

int main(int argc, char** argv) { return kvi::cpu::main_with(argc, argv); }
