// kvinfer plan: the memory that a model would take and what fits, without loading its weights.
#include <cmath>
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "plan_table.h"
#include "shapes.h"

namespace cli {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

kvinfer::Preset parse_preset(const std::string& name) {
  if (name == "throughput") return kvinfer::Preset::throughput;
  if (name == "long-context") return kvinfer::Preset::long_context;
  return kvinfer::Preset::low_memory;
}

const char* lower_name(int32_t lower) {
  switch (lower) {
    case KVI_LOWER_MAX_NUM_SEQS: return "max_num_seqs";
    case KVI_LOWER_MAX_MODEL_LEN: return "max_model_len";
    case KVI_LOWER_MAX_NUM_BATCHED_TOKENS: return "max_num_batched_tokens";
    case KVI_LOWER_WEIGHTS: return "weights";
    default: return "nothing";
  }
}

// "457k"
std::string short_count(uint64_t count) {
  if (count < 10'000) return std::to_string(count);
  if (count < 10'000'000) return std::to_string(count / 1000) + "k";
  return std::to_string(count / 1'000'000) + "M";
}

std::string sequences(uint64_t count) {
  return std::to_string(count) + (count == 1 ? " sequence" : " sequences");
}

uint64_t parse_swap(const std::string& text) {
  const bool is_number = text.find_first_not_of("0123456789.") == text.npos;
  if (is_number && text.find_first_not_of("0.") == text.npos) return 0;
  return parse_size("--swap-space", is_number ? text + "GiB" : text);
}

// A shape by name, or by numbers, or by name with some numbers changed.
struct ShapeArguments {
  std::string name;
  std::optional<uint32_t> layers, heads, kv_heads, head_dim, embedding, ffn, vocab, experts,
      context;
  std::optional<uint32_t> window, window_layers, shared_layers, state_layers;
  std::optional<uint64_t> state_bytes, weights_bytes;
  std::optional<double> weight_bits;
  bool tied = false;

  void add_to(CLI::App& command) {
    CLI::Option* named = command.add_option("--shape", name,
                                            "A known model's shape in place of a file, as "
                                            "llama-3-8b; the numbers below change it");
    named->excludes("--model");
    const auto add = [&](const char* option, auto& value, const char* help) {
      command.add_option(option, value, help)->excludes("--model")->group("Shape");
    };
    add("--layers", layers, "Layers");
    add("--heads", heads, "Query heads");
    add("--kv-heads", kv_heads, "KV heads (default: as --heads)");
    add("--head-dim", head_dim, "Values of a head (default: embedding / heads)");
    add("--embedding", embedding, "Values of a hidden state");
    add("--ffn", ffn, "Rows of an MLP, or of one expert");
    add("--vocab", vocab, "Tokens of the vocabulary");
    add("--experts", experts, "Experts of a layer (default: 1)");
    add("--context", context, "Tokens that the model was made for (default: 4096)");
    add("--window", window, "Tokens that window layers see");
    add("--window-layers", window_layers, "Layers that hold their window only");
    add("--shared-layers", shared_layers, "Layers that read another layer's K and V");
    add("--state-layers", state_layers, "Layers that keep a state of --state bytes a sequence");
    add("--weight-bits", weight_bits, "Bits a weight, block scales included (default: 16)");
    command.add_flag("--tied", tied, "The output matrix is the embedding's")->group("Shape");
    for (CLI::Option* size :
         {add_size(command, "--state", state_bytes, "Bytes of one layer's state"),
          add_size(command, "--weights", weights_bytes, "Bytes of all weights")}) {
      size->excludes("--model")->group("Shape");
    }
  }

  bool given() const { return !name.empty() || layers; }

  kvi_model_shape shape() const {
    kvi_model_shape shape = name.empty() ? kvinfer::model_shape() : find_shape(name);
    const auto set = [](auto& field, const auto& value) {
      if (value) field = *value;
    };
    set(shape.num_layers, layers);
    set(shape.num_heads, heads);
    set(shape.num_kv_heads, kv_heads);
    set(shape.head_dim, head_dim);
    set(shape.embedding_len, embedding);
    set(shape.ffn_len, ffn);
    set(shape.vocab_size, vocab);
    set(shape.num_experts, experts);
    set(shape.context_len, context);
    set(shape.window, window);
    set(shape.num_window_layers, window_layers);
    set(shape.num_shared_layers, shared_layers);
    set(shape.num_state_layers, state_layers);
    set(shape.state_bytes, state_bytes);
    set(shape.weight_bits, weight_bits);
    set(shape.weights_bytes, weights_bytes);
    if (tied) shape.tied_embeddings = 1;
    return shape;
  }
};

struct Plan {
  ModelArguments model;
  ShapeArguments shape;
  std::string preset;
  std::optional<uint32_t> max_num_seqs, max_model_len, sequence_len, max_num_batched_tokens;
  std::optional<uint32_t> block_size, paused, prefix_len, prefix_users;
  std::optional<uint64_t> memory_bytes, kv_budget_bytes, swap_bytes;
  std::optional<double> utilization;
  std::string kv_cache_dtype = "auto";
  bool exact = false, table = false, no_prefix_caching = false;

  void add_to(CLI::App& command);
  void operator()() const;

 private:
  kvinfer::PlanOptions options() const;
  void print(const kvi_plan& plan, const std::string& other_type, uint64_t other_count) const;
};

void Plan::add_to(CLI::App& command) {
  model.add_to(command);
  command.get_option("--model")->required(false);
  model.add_threads_to(command);
  command
      .add_option("--preset", preset,
                  "throughput, long-context or low-memory; fails unless it fits")
      ->check(CLI::IsMember({"throughput", "long-context", "low-memory"}));
  add_size(command, "--gpu-memory", memory_bytes,
           "Memory of the device, as 80GiB (default: this machine's)");
  command.add_option("--gpu-memory-utilization", utilization,
                     "The share of it for weights, scratch and KV together (default: 0.9)");
  add_size(command, "--kv-budget", kv_budget_bytes, "Bytes for KV, in place of these two")
      ->excludes("--gpu-memory")
      ->excludes("--gpu-memory-utilization");
  command.add_option("--max-num-seqs,--sequences", max_num_seqs,
                     "Sequences that run at once (default: 1)");
  command.add_option("--max-model-len", max_model_len,
                     "Most tokens of one sequence (default: the model's context)");
  command.add_option("--sequence-len", sequence_len,
                     "Tokens that each sequence has (default: --max-model-len)");
  command.add_option("--max-num-batched-tokens", max_num_batched_tokens,
                     "Tokens of one step (default: 512)");
  command.add_option("--block-size,--page-len", block_size, "Tokens of a KV page (default: 16)");
  command.add_option("--kv-cache-dtype", kv_cache_dtype,
                     "auto, f16, bf16, fp8, int8 or int4 (default: auto)");
  command
      .add_option_function<std::string>(
          "--swap-space", [this](const std::string& text) { swap_bytes = parse_swap(text); },
          "Host memory for sequences that pause: a size, or a number of GiB as in vLLM "
          "(default: 4GiB)")
      ->type_name("SIZE");
  command.add_option("--paused", paused, "Sequences that shall find room in it");
  command.add_option("--prefix-len", prefix_len, "Tokens of a prefix that sequences share");
  command.add_option("--prefix-users", prefix_users, "How many share it");
  command.add_flag("--no-enable-prefix-caching", no_prefix_caching, "Keep equal prefixes apart");
  command.add_flag("--exact", exact, "Keep activations in f32: exact, and slower");
  command
      .add_flag("--table", table, "Print a table of known models as Markdown (default: of 80 GiB)")
      ->excludes("--model");
  shape.add_to(command);
}

kvinfer::PlanOptions Plan::options() const {
  kvinfer::PlanOptions options = preset.empty() ? kvinfer::PlanOptions().max_num_seqs(1)
                                                : kvinfer::PlanOptions(parse_preset(preset));
  if (memory_bytes) options.device_memory_bytes(*memory_bytes);
  if (utilization) options.gpu_memory_utilization(*utilization);
  if (kv_budget_bytes) options.kv_budget_bytes(*kv_budget_bytes);
  if (max_num_seqs) options.max_num_seqs(*max_num_seqs);
  if (max_model_len) options.max_model_len(*max_model_len);
  if (sequence_len) options.sequence_len(*sequence_len);
  if (max_num_batched_tokens) options.max_num_batched_tokens(*max_num_batched_tokens);
  if (block_size) options.block_size(*block_size);
  options.kv_cache_dtype(kv_cache_dtype);
  if (swap_bytes) options.swap_space_bytes(*swap_bytes);
  if (paused) options.paused_sequences(*paused);
  options.prefix(prefix_len.value_or(0), prefix_users.value_or(0));
  options.enable_prefix_caching(!no_prefix_caching);
  if (model.threads) options.num_threads(*model.threads);
  if (exact) options.exact();
  return options;
}

void Plan::operator()() const {
  if (table) {
    print_plan_table(memory_bytes.value_or(80 * kGiB), utilization.value_or(0.9));
    return finish_output();
  }
  if (model.path.empty() && !shape.given()) {
    throw CLI::RequiredError("--model, --shape or --layers");
  }
  std::optional<kvinfer::Model> opened;
  if (!model.path.empty()) {
    opened = model.open_metadata();
    if (max_model_len) check_context(*opened, "--max-model-len", *max_model_len);
  }
  const auto plan_with = [&](const kvinfer::PlanOptions& options) {
    return opened ? opened->plan(options) : kvinfer::plan(shape.shape(), options);
  };
  const kvi_plan plan = plan_with(options());
  const std::string other_type = plan.kv_cache_dtype_runs == 1 ? "fp8" : "auto";
  const kvi_plan other = plan_with(options().kv_cache_dtype(other_type).must_fit(false));
  print(plan, other_type, other.max_sequences);
  finish_output();
}

void Plan::print(const kvi_plan& plan, const std::string& other_type, uint64_t other_count) const {
  const std::string advice = with_option_names(plan.advice);
  if (model.json) {
    return print_json({{"weights_bytes", plan.weights_bytes},
                       {"kv_bytes_per_token", plan.kv_bytes_per_token},
                       {"kv_bytes", plan.kv_bytes},
                       {"scratch_bytes", plan.scratch_bytes},
                       {"load_peak_bytes", plan.load_peak_bytes},
                       {"page_len", plan.page_len},
                       {"kv_bytes_per_page", plan.kv_bytes_per_page},
                       {"kv_bytes_per_sequence", plan.kv_bytes_per_sequence},
                       {"kv_prefill_bytes", plan.kv_prefill_bytes},
                       {"kv_cache_dtype_runs", plan.kv_cache_dtype_runs == 1},
                       {"max_model_len", plan.max_model_len},
                       {"sequence_len", plan.sequence_len},
                       {"kv_budget_bytes", plan.kv_budget_bytes},
                       {"needed_bytes", plan.needed_bytes},
                       {"available_bytes", plan.available_bytes},
                       {"missing_bytes", plan.missing_bytes},
                       {"max_sequences", plan.max_sequences},
                       {"max_len", plan.max_len},
                       {"max_tokens", plan.max_tokens},
                       {"swap_bytes", plan.swap_bytes},
                       {"swap_sequences", plan.swap_sequences},
                       {"prefix_saved_bytes", plan.prefix_saved_bytes},
                       {"kv_exceeds_weights_len", plan.kv_exceeds_weights_len},
                       {"lower_first", lower_name(plan.lower_first)},
                       {"lower_to", plan.lower_to},
                       {"advice", advice}});
  }
  std::cout << "weights " << format_bytes(plan.weights_bytes);
  if (plan.load_peak_bytes > plan.weights_bytes) {
    std::cout << " (" << format_bytes(plan.load_peak_bytes) << " while loading)";
  }
  std::cout << " · scratch " << format_bytes(plan.scratch_bytes) << " · KV "
            << format_bytes(plan.kv_bytes_per_token) << " a token (" << plan.page_len
            << " tokens a page, " << format_bytes(plan.kv_bytes_per_page) << "), "
            << format_bytes(plan.kv_bytes_per_sequence) << " a sequence\n"
            << "room for " << short_count(plan.max_tokens) << " tokens in "
            << format_bytes(plan.kv_budget_bytes) << ": " << sequences(plan.max_sequences) << " of "
            << plan.sequence_len << " (" << other_count << " with --kv-cache-dtype " << other_type
            << ")\n"
            << advice << "\n";
  if (plan.kv_cache_dtype_runs == 0) {
    std::cout << "this build cannot run --kv-cache-dtype " << kv_cache_dtype
              << " yet: planned only\n";
  }
  if (plan.kv_exceeds_weights_len > 0) {
    std::cout << "KV exceeds the weights from " << plan.kv_exceeds_weights_len << " tokens on\n";
  }
  if (paused) {
    std::cout << "swap " << format_bytes(plan.swap_bytes) << " for " << sequences(*paused)
              << " that pause; --swap-space holds " << plan.swap_sequences << "\n";
  }
  if (plan.prefix_saved_bytes > 0) {
    std::cout << "sharing the prefix saves " << format_bytes(plan.prefix_saved_bytes) << "\n";
  }
}

}  // namespace

void add_plan(CLI::App& app) {
  auto plan = std::make_shared<Plan>();
  CLI::App& command = *app.add_subcommand("plan", "State the memory that a model would take");
  plan->add_to(command);
  command.callback([plan] { (*plan)(); });
}

}  // namespace cli
