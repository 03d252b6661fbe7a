// Speed of attention over KV pages: decode as GB/s of keys and values, prefill as GFLOP/s.
//
//   attention_bench [--threads N] [--isa NAME] [--heads N] [--kv-heads N] [--head-dim N] [--rows N]
//                   [--context N] [--layers N] [--page-len N] [--rounds N]
//
// Each round goes through all layers, as a step does, so many layers read memory and one reads caches.
// Verifies first that the instruction set gives the bits of the scalar one. Times are the least of all
// calls: other work on the machine only ever adds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/attention.h"
#include "base/memory_range.h"
#include "base/os_cpu.h"
#include "tensor/half.h"

namespace kvi::cpu {
namespace {

struct Options {
  Isa isa = best_isa();
  int threads = default_num_threads();
  int heads = 9, kv_heads = 3, head_dim = 64;
  int rows = 1, context = 512, layers = 30, page_len = 16, rounds = 100;
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        pool_(options.threads),
        shape_(shape_of(options)),
        memory_(bytes(shape_)) {
    std::vector<KvLayerShape> layers;
    for (int i = 0; i < options.layers; ++i) {
      layers.push_back(
          {i, options.kv_heads, options.head_dim, options.head_dim, DType::F16, DType::F16});
    }
    layout_ = keys_by_dim_layout(layers, options.page_len);
    const int num_pages = (options.context + options.page_len - 1) / options.page_len;
    pages_ = reserve_host_memory(layout_.page_bytes * static_cast<uint64_t>(num_pages));
    pages_->commit(0, pages_->size_bytes());
    auto* halves = reinterpret_cast<uint16_t*>(pages_->address());
    std::mt19937 random(1);
    std::vector<uint16_t> values(4099);
    for (uint16_t& value : values) {
      value = f32_to_f16(static_cast<float>(random() % 2001) / 1000 - 1);
    }
    for (uint64_t i = 0; i < pages_->size_bytes() / 2; ++i) halves[i] = values[i % values.size()];
    for (int page = 0; page < num_pages; ++page) table_.push_back(page);
    queries_.resize(static_cast<size_t>(options.rows * options.heads * options.head_dim));
    for (float& query : queries_) query = static_cast<float>(random() % 2001) / 1000 - 1;
  }

  double run(Isa isa, int layer, std::vector<float>& out) {
    Scratch scratch(memory_.data());
    PagedAttention attention(shape_, options_.threads, scratch);
    const SequenceRows rows = {0, options_.rows, options_.context - options_.rows};
    const std::span<const PageId> table = table_;
    const KvSegment segment = {.layout = &layout_,
                               .key = &layout_.plane(layer, PlaneRole::key),
                               .value = &layout_.plane(layer, PlaneRole::value),
                               .pages = pages_->address(),
                               .tables = {&table, 1},
                               .window = 0};
    AttentionWeights weights;
    weights.num_heads = options_.heads;
    weights.num_kv_heads = options_.kv_heads;
    weights.head_dim = options_.head_dim;
    weights.softmax_scale = 0.125f;
    out.resize(queries_.size());
    const auto start = std::chrono::steady_clock::now();
    attention.run(pool_, vector_ops(isa), {options_.rows, {&rows, 1}, {}}, weights, {&segment, 1},
                  queries_.data(), out.data());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  static ExecutorShape shape_of(const Options& options) {
    ExecutorShape shape;
    shape.max_rows = options.rows;
    shape.num_heads = options.heads;
    shape.head_dim = options.head_dim;
    shape.max_context = options.context;
    shape.max_sequences = 1;
    return shape;
  }
  uint64_t bytes(const ExecutorShape& shape) const {
    Scratch count(nullptr);
    PagedAttention(shape, options_.threads, count);
    return count.size_bytes();
  }

  const Options options_;
  ThreadPool pool_;
  ExecutorShape shape_;
  AlignedMemory memory_;
  PageLayout layout_;
  std::unique_ptr<MemoryRange> pages_;
  std::vector<PageId> table_;
  std::vector<float> queries_;
};

int bench(const Options& options) {
  Bench bench(options);
  std::vector<float> out, scalar;
  bench.run(options.isa, 0, out);
  bench.run(Isa::scalar, 0, scalar);
  if (std::memcmp(out.data(), scalar.data(), out.size() * sizeof(float)) != 0) {
    std::printf("WRONG: %s differs from scalar\n", isa_name(options.isa));
    return 1;
  }
  double best = 1e9;
  for (int round = 0; round < options.rounds; ++round) {
    for (int layer = 0; layer < options.layers; ++layer) {
      best = std::min(best, bench.run(options.isa, layer, out));
    }
  }
  const double first = options.context - options.rows + 1;
  const double pairs = (first + options.context) / 2 * options.rows * options.heads;
  const double bytes = 4.0 * options.kv_heads * options.head_dim * options.context;
  std::printf("%s, %d threads: %d rows, context %d: %.2f us a layer, %.1f GB/s, %.1f GFLOP/s\n",
              isa_name(options.isa), options.threads, options.rows, options.context, best * 1e6,
              bytes / best / 1e9, 4 * pairs * options.head_dim / best / 1e9);
  return 0;
}

int usage() {
  std::fprintf(
      stderr,
      "usage: attention_bench [--threads N] [--isa NAME] [--heads N] [--kv-heads N] "
      "[--head-dim N] [--rows N] [--context N] [--layers N] [--page-len N] [--rounds N]\n");
  return 2;
}

int main_with(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    const std::string name = argv[i], value = argv[i + 1];
    const int number = std::atoi(value.c_str());
    if (name == "--threads")
      options.threads = number;
    else if (name == "--heads")
      options.heads = number;
    else if (name == "--kv-heads")
      options.kv_heads = number;
    else if (name == "--head-dim")
      options.head_dim = number;
    else if (name == "--rows")
      options.rows = number;
    else if (name == "--context")
      options.context = number;
    else if (name == "--layers")
      options.layers = number;
    else if (name == "--page-len")
      options.page_len = number;
    else if (name == "--rounds")
      options.rounds = number;
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
