// kvinfer bench --scenario grid: what sequences hold in four arrangements of KV memory, and how fast the model's own is.
//
//   contiguous  max_model_len tokens reserved for each sequence: computed
//   paged       pages, every layer keeps all tokens
//   window      pages, every layer keeps a window
//   hybrid      pages, some layers keep a window: as the model, or 5 of 6 layers
// The model's own arrangement is run and measured; the others are planned (kvi_plan_shape).
#include <algorithm>

#include "measuring.h"
#include "scenarios.h"

namespace cli {
namespace {

constexpr uint32_t kGenerated = 32;
constexpr uint32_t kWindow = 512;  // of arrangements that the model does not have
constexpr uint32_t kHybridPeriod = 6;

class Grid {
 public:
  explicit Grid(const ScenarioArguments& arguments)
      : arguments_(arguments),
        gen_len_(arguments.gen_len.value_or(kGenerated)),
        model_(arguments.model.open()),
        info_(model_.info()) {}

  Json run() {
    for (uint32_t prompt_len : arguments_.prompt_lens) {
      for (uint32_t count : arguments_.sequences) measure(prompt_len, count);
    }
    return rows_;
  }

 private:
  const char* own_name() const {
    if (info_.num_window_layers == 0) return "paged";
    return info_.num_window_layers == info_.num_layers ? "window" : "hybrid";
  }

  void measure(uint32_t prompt_len, uint32_t count) {
    const uint32_t len = prompt_len + 1 + gen_len_;
    if (arguments_.engine.max_model_len && *arguments_.engine.max_model_len < len) {
      throw Failure(
          ExitCode::usage,
          "--max-model-len must be at least --prompt-len + 1 + --gen-len, " + std::to_string(len));
    }
    // What is reserved for a sequence: as long as it may become.
    const uint32_t reserved = std::max(len,
                                       arguments_.engine.max_model_len.value_or(info_.context_len));
    const uint32_t window = info_.window > 0 ? info_.window : kWindow;
    const uint32_t num_window_layers = own_name() == std::string("hybrid")
                                           ? info_.num_window_layers
                                           : info_.num_layers - info_.num_layers / kHybridPeriod;
    add("contiguous", prompt_len, count, uint64_t{count} * reserved * info_.kv_bytes_per_token,
        "computed");
    add("paged", prompt_len, count, planned(len, count, 0, 0), "planned");
    add("window", prompt_len, count, planned(len, count, info_.num_layers, window), "planned");
    add("hybrid", prompt_len, count, planned(len, count, num_window_layers, window), "planned");

    kvinfer::EngineOptions options = arguments_.engine.options(arguments_.model, model_);
    options.max_sequences(count).max_model_len(len);
    if (!arguments_.engine.kv_budget_bytes) fit_budget(model_, options);
    const auto engine = kvinfer::Engine::create(model_, options);
    Throughput best;
    for (uint32_t i = 0; i < arguments_.repeats.value_or(1); ++i) {
      const Throughput now = measure_throughput(engine, model_, count, prompt_len, gen_len_, i);
      best = {std::max(best.prefill, now.prefill), std::max(best.decode, now.decode), now.kv_bytes};
    }
    for (Json& row : rows_) {
      if (row["name"] != own_name() || row["prompt_len"] != prompt_len || row["sequences"] != count)
        continue;
      row["kv_bytes"] = best.kv_bytes;
      row["kv_bytes_from"] = "measured";
      row["prefill_tokens_per_s"] = best.prefill;
      row["decode_tokens_per_s"] = best.decode;
    }
  }

  // len tokens are known, the last of them not computed.
  uint64_t planned(uint32_t len, uint32_t count, uint32_t num_window_layers,
                   uint32_t window) const {
    kvi_model_shape shape = kvinfer::model_shape();
    shape.num_layers = info_.num_layers;
    shape.num_heads = info_.num_heads;
    shape.num_kv_heads = info_.num_kv_heads;
    shape.head_dim = info_.head_dim;
    shape.embedding_len = info_.embedding_len;
    shape.ffn_len = info_.embedding_len;  // no matter for K and V
    shape.vocab_size = info_.vocab_size;
    shape.num_window_layers = num_window_layers;
    shape.window = window;
    const kvinfer::EngineOptions options = arguments_.engine.options(arguments_.model, model_);
    const kvi_plan plan = kvinfer::plan(
        shape, kvinfer::PlanOptions().max_model_len(len - 1).max_num_seqs(count).block_size(
                   options.without_log().page_len));
    return plan.kv_bytes_per_sequence * count;
  }

  void add(const char* name, uint32_t prompt_len, uint32_t count, uint64_t kv_bytes,
           const char* from) {
    rows_.push_back({{"name", name},
                     {"prompt_len", prompt_len},
                     {"sequences", count},
                     {"kv_bytes", kv_bytes},
                     {"kv_bytes_from", from},
                     {"prefill_tokens_per_s", nullptr},
                     {"decode_tokens_per_s", nullptr}});
  }

  const ScenarioArguments& arguments_;
  const uint32_t gen_len_;
  const kvinfer::Model model_;
  const kvi_model_info info_;
  Json rows_ = Json::array();
};

}  // namespace

void bench_grid(const ScenarioArguments& arguments) {
  print_results(Grid(arguments).run(), arguments.model.json);
}

}  // namespace cli
