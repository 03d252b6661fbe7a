#include "format/hf_config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "format/hf_tokenizer_config.h"
#include "format/json_file.h"

namespace kvi {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr int64_t kMaxLayers = 1 << 16;

// A model_type of transformers, and what its configuration class takes for keys that are missing.
// 0 stands for a key that must be there, or follows from others as noted.
struct Family {
  const char* model_type;
  const char* architecture;  // as GGUF names it
  const char* activation;
  int64_t hidden_size, intermediate_size, num_layers, num_heads, vocab_size;
  int64_t num_kv_heads;  // 0: as many as heads
  int64_t head_dim;      // 0: hidden_size / num_heads
  int64_t context_length;
  int64_t sliding_window;
  bool tied;
};

constexpr Family kFamilies[] = {
    {"llama", "llama", "silu", 0, 0, 0, 0, 0, 0, 0, 2048, 0, false},
    {"mistral", "llama", "silu", 0, 0, 0, 0, 0, 8, 0, 131072, 4096, false},
    {"qwen2", "qwen2", "silu", 0, 0, 0, 0, 0, 32, 0, 32768, 4096, false},
    {"qwen3", "qwen3", "silu", 0, 0, 0, 0, 0, 32, 128, 32768, 4096, false},
    {"gemma3_text", "gemma3", "gelu_pytorch_tanh", 2304, 9216, 26, 8, 262208, 4, 256, 131072, 4096,
     true},
};

constexpr double kDefaultRopeTheta = 10000;
constexpr double kGemmaGlobalTheta = 1000000;
constexpr int64_t kGemmaWindowPeriod = 6;  // every sixth layer sees everything

class ConfigTranslator {
 public:
  explicit ConfigTranslator(const JsonObject& config) : config_(config) {}

  Metadata translate() {
    const std::string model_type = config_.find_string("model_type").value_or("");
    if (config_.contains("quantization_config")) {
      config_.fail(Status::UNSUPPORTED, "quantization_config",
                   "names a quantized format; use the F32, F16 or BF16 weights, or a GGUF file");
    }
    if (model_type == "gpt2") {
      translate_gpt2();
      return std::move(metadata_);
    }
    for (const Family& family : kFamilies) {
      if (model_type == family.model_type) {
        translate_rope_family(family);
        return std::move(metadata_);
      }
    }
    config_.fail(
        Status::UNSUPPORTED, "model_type",
        concat("is ", kvi::quoted(model_type),
               "; supported are llama, mistral, qwen2, qwen3, gemma3, gemma3_text and gpt2"));
  }

 private:
  void set(std::string_view key, MetadataValue value) {
    metadata_.set(concat(architecture_, ".", key), std::move(value));
  }

  void set_architecture(const char* architecture) {
    architecture_ = architecture;
    metadata_.set("general.architecture", std::string(architecture));
  }

  // The key's value, or the family's where it has one.
  int64_t size_or(std::string_view key, int64_t fallback) {
    return fallback == 0 ? config_.get_size(key) : config_.find_size(key).value_or(fallback);
  }

  void require_string(std::string_view key, std::string_view wanted) {
    const std::optional<std::string> value = config_.find_string(key);
    if (value && *value != wanted) {
      config_.fail(Status::UNSUPPORTED, key,
                   concat("is ", kvi::quoted(*value), "; only ", kvi::quoted(wanted),
                          " is supported in this family"));
    }
  }

  void require_bool(std::string_view key, bool wanted) {
    if (config_.find_bool(key).value_or(wanted) != wanted) {
      config_.fail(
          Status::UNSUPPORTED, key,
          concat("is ", wanted ? "false" : "true", ", which is not supported in this family"));
    }
  }

  int64_t read_num_layers(std::string_view key, int64_t fallback) {
    const int64_t num_layers = size_or(key, fallback);
    if (num_layers > kMaxLayers) {
      config_.fail(Status::UNSUPPORTED, key,
                   concat("is ", num_layers, "; at most ", kMaxLayers, " layers are accepted"));
    }
    return num_layers;
  }

  int64_t head_dim_of(std::string_view hidden_key, int64_t hidden_size, int64_t num_heads) {
    if (hidden_size % num_heads != 0) {
      config_.fail(
          Status::CORRUPT, hidden_key,
          concat("is ", hidden_size, ", not a multiple of the ", num_heads, " attention heads"));
    }
    return hidden_size / num_heads;
  }

  double read_epsilon(std::string_view key, double fallback) {
    const double epsilon = config_.find_number(key).value_or(fallback);
    if (!(epsilon >= 0 && epsilon < 1)) {
      config_.fail(Status::CORRUPT, key,
                   concat("is ", epsilon, "; expected 0 or more, less than 1"));
    }
    return epsilon;
  }

  void translate_gpt2() {
    set_architecture("gpt2");
    require_string("activation_function", "gelu_new");
    require_bool("scale_attn_weights", true);
    require_bool("scale_attn_by_inverse_layer_idx", false);
    require_bool("add_cross_attention", false);
    const int64_t hidden_size = config_.get_size("n_embd");
    const int64_t num_heads = config_.get_size("n_head");
    const int64_t head_dim = head_dim_of("n_embd", hidden_size, num_heads);
    set("block_count", read_num_layers("n_layer", 0));
    set("context_length",
        config_.get_size(config_.contains("n_positions") ? "n_positions" : "n_ctx"));
    set("embedding_length", hidden_size);
    set("feed_forward_length", config_.find_size("n_inner").value_or(4 * hidden_size));
    set("attention.head_count", num_heads);
    set("attention.head_count_kv", num_heads);
    set("attention.key_length", head_dim);
    set("attention.value_length", head_dim);
    set("attention.layer_norm_epsilon", read_epsilon("layer_norm_epsilon", 1e-5));
    set("vocab_size", config_.get_size("vocab_size"));
    metadata_.set("kvinfer.tie_word_embeddings",
                  config_.find_bool("tie_word_embeddings").value_or(true));
  }

  void translate_rope_family(const Family& family) {
    set_architecture(family.architecture);
    require_string("hidden_act", family.activation);
    require_string("hidden_activation", family.activation);
    require_bool("use_bidirectional_attention", false);
    const int64_t hidden_size = size_or("hidden_size", family.hidden_size);
    const int64_t num_heads = size_or("num_attention_heads", family.num_heads);
    num_layers_ = read_num_layers("num_hidden_layers", family.num_layers);
    context_length_ = size_or("max_position_embeddings", family.context_length);
    const int64_t fallback_kv_heads = family.num_kv_heads == 0 ||
                                              config_.is_null("num_key_value_heads")
                                          ? num_heads
                                          : family.num_kv_heads;
    int64_t head_dim = config_.find_size("head_dim").value_or(family.head_dim);
    if (head_dim == 0) head_dim = head_dim_of("hidden_size", hidden_size, num_heads);
    set("block_count", num_layers_);
    set("context_length", context_length_);
    set("embedding_length", hidden_size);
    set("feed_forward_length", size_or("intermediate_size", family.intermediate_size));
    set("attention.head_count", num_heads);
    const int64_t num_kv_heads = config_.find_size("num_key_value_heads")
                                     .value_or(fallback_kv_heads);
    if (num_heads % num_kv_heads != 0) {
      config_.fail(Status::CORRUPT, "num_key_value_heads",
                   concat("is ", num_kv_heads, ", which does not divide the ", num_heads,
                          " attention heads"));
    }
    set("attention.head_count_kv", num_kv_heads);
    set("attention.key_length", head_dim);
    set("attention.value_length", head_dim);
    set("attention.layer_norm_rms_epsilon", read_epsilon("rms_norm_eps", 1e-6));
    set("vocab_size", size_or("vocab_size", family.vocab_size));
    metadata_.set("kvinfer.tie_word_embeddings",
                  config_.find_bool("tie_word_embeddings").value_or(family.tied));
    metadata_.set("kvinfer.rope_pairs", std::string("half_split"));
    translate_window(family);
    translate_rope(head_dim);
    translate_biases(family.model_type);
    if (architecture_ == "gemma3") translate_gemma();
  }

  // Mistral and Qwen 2 have the keys in some files, and transformers does not look at them.
  void translate_biases(std::string_view model_type) {
    if (model_type == "mistral" || model_type == "qwen2") return;
    std::vector<std::string> biased;
    if (config_.find_bool("attention_bias").value_or(false)) {
      biased = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"};
    }
    if (model_type == "llama" && config_.find_bool("mlp_bias").value_or(false)) {
      for (const char* name : {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
        biased.push_back(name);
    }
    if (!biased.empty()) metadata_.set("kvinfer.biased_projections", std::move(biased));
  }

  void translate_gemma() {
    metadata_.set("kvinfer.norm_weight_offset", 1.0);
    const double scalar = config_.find_positive("query_pre_attn_scalar").value_or(256);
    set("attention.scale", 1 / std::sqrt(scalar));
    for (const char* key : {"final_logit_softcapping", "attn_logit_softcapping"}) {
      if (std::optional<double> cap = config_.find_number(key)) set(key, *cap);
    }
  }

  // Which layers have a sliding window. transformers says it in three ways: a list of layer types,
  // a period, or the first layer that has one.
  void translate_window(const Family& family) {
    const int64_t window = window_of(family);
    std::vector<bool> pattern(static_cast<size_t>(num_layers_), false);
    if (const auto types = config_.find_strings("layer_types")) {
      pattern = pattern_of(*types);
    } else if (architecture_ == "gemma3") {
      const char* key = config_.contains("sliding_window_pattern") ? "sliding_window_pattern"
                                                                   : "_sliding_window_pattern";
      const int64_t period = config_.find_size(key).value_or(kGemmaWindowPeriod);
      for (int64_t i = 0; i < num_layers_; ++i) pattern[i] = (i + 1) % period != 0;
    } else if (window != 0) {
      // Qwen: this many layers at the bottom see everything.
      const int64_t first = is_qwen() ? config_.find_count("max_window_layers").value_or(28) : 0;
      for (int64_t i = first; i < num_layers_; ++i) pattern[i] = true;
    }
    if (std::find(pattern.begin(), pattern.end(), true) == pattern.end()) return;
    if (window == 0) {
      config_.fail(Status::CORRUPT, "sliding_window",
                   "is missing, but layers with a window are listed");
    }
    set("attention.sliding_window", window);
    set("attention.sliding_window_pattern", std::move(pattern));
  }

  // The width, or 0 where the family has none or has it switched off.
  int64_t window_of(const Family& family) {
    if (is_qwen() && !config_.find_bool("use_sliding_window").value_or(false)) return 0;
    if (family.sliding_window == 0 || config_.is_null("sliding_window")) return 0;
    return config_.find_size("sliding_window").value_or(family.sliding_window);
  }

  bool is_qwen() const { return architecture_ == "qwen2" || architecture_ == "qwen3"; }

  std::vector<bool> pattern_of(const std::vector<std::string>& types) {
    if (static_cast<int64_t>(types.size()) != num_layers_) {
      config_.fail(Status::CORRUPT, "layer_types",
                   concat("has ", types.size(), " entries for ", num_layers_, " layers"));
    }
    std::vector<bool> pattern;
    for (const std::string& type : types) {
      if (type != "full_attention" && type != "sliding_attention") {
        config_.fail(Status::UNSUPPORTED, "layer_types", concat("holds ", kvi::quoted(type)));
      }
      pattern.push_back(type == "sliding_attention");
    }
    return pattern;
  }

  // transformers 5: rope_parameters, by layer type where layers differ; before: rope_theta,
  // rope_scaling and, in Gemma, rope_local_base_freq.
  void translate_rope(int64_t head_dim) {
    const bool is_gemma = architecture_ == "gemma3";
    const std::optional<JsonObject> parameters = config_.find_object("rope_parameters");
    std::optional<JsonObject> scaling = config_.find_object("rope_scaling");
    double theta = config_.find_positive("rope_theta")
                       .value_or(is_gemma ? kGemmaGlobalTheta : kDefaultRopeTheta);
    double local_theta = config_.find_positive("rope_local_base_freq").value_or(kDefaultRopeTheta);
    if (parameters) {
      std::optional<JsonObject> full = parameters->find_object("full_attention");
      scaling = full ? full : parameters;
      theta = scaling->find_positive("rope_theta").value_or(theta);
      if (std::optional<JsonObject> sliding = parameters->find_object("sliding_attention")) {
        local_theta = sliding->find_positive("rope_theta").value_or(local_theta);
        if (rope_type(*sliding) != "default") {
          sliding->fail(Status::UNSUPPORTED, "rope_type",
                        "must be 'default' on layers with a window");
        }
      }
    }
    double fraction = config_.find_number("partial_rotary_factor").value_or(1);
    if (scaling) fraction = scaling->find_number("partial_rotary_factor").value_or(fraction);
    if (!(fraction > 0 && fraction <= 1)) {
      config_.fail(Status::CORRUPT, "partial_rotary_factor", "must lie in (0, 1]");
    }
    const int64_t rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * fraction);
    if (rotary_dim == 0 || rotary_dim % 2 != 0) {
      config_.fail(Status::CORRUPT, fraction == 1 ? "head_dim" : "partial_rotary_factor",
                   concat("makes RoPE turn ", rotary_dim, " of the ", head_dim,
                          " dimensions of a head; expected a positive even number"));
    }
    set("rope.dimension_count", rotary_dim);
    set("rope.freq_base", theta);
    if (is_gemma) set("rope.freq_base_swa", local_theta);
    if (scaling) translate_rope_scaling(*scaling);
  }

  static std::string rope_type(const JsonObject& scaling) {
    const char* key = scaling.contains("rope_type") ? "rope_type" : "type";
    return scaling.find_string(key).value_or("default");
  }

  void translate_rope_scaling(const JsonObject& scaling) {
    const std::string type = rope_type(scaling);
    if (type == "default") return;
    if (type != "linear" && type != "dynamic" && type != "yarn" && type != "llama3") {
      scaling.fail(
          Status::UNSUPPORTED, "rope_type",
          concat("is ", kvi::quoted(type), "; supported are linear, dynamic, yarn and llama3"));
    }
    const std::optional<double> factor = scaling.find_positive("factor");
    if (!factor) scaling.fail(Status::CORRUPT, "factor", "is missing; expected a positive number");
    set("rope.scaling.type", type);
    set("rope.scaling.factor", *factor);
    if (type == "linear") return;
    set("rope.scaling.original_context_length",
        scaling.find_size("original_max_position_embeddings").value_or(context_length_));
    if (type == "llama3") {
      for (const char* key : {"low_freq_factor", "high_freq_factor"}) {
        if (!scaling.contains(key)) scaling.fail(Status::CORRUPT, key, "is missing");
        set_number(scaling, key, concat("rope.scaling.", key));
      }
    }
    if (type == "yarn") {
      set_number(scaling, "attention_factor", "rope.scaling.attn_factor");
      set_number(scaling, "beta_fast", "rope.scaling.yarn_beta_fast");
      set_number(scaling, "beta_slow", "rope.scaling.yarn_beta_slow");
    }
  }

  void set_number(const JsonObject& from, std::string_view hf_key, std::string_view key) {
    if (std::optional<double> value = from.find_number(hf_key)) set(key, *value);
  }

  const JsonObject& config_;
  std::string architecture_;
  int64_t num_layers_ = 0;
  int64_t context_length_ = 0;
  Metadata metadata_;
};

}  // namespace

Metadata read_hf_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!file_exists(path)) {
    throw Error(Status::NOT_FOUND, concat("cannot find ", kvi::quoted(path, 400),
                                          ", which describes the safetensors model beside it"));
  }
  const JsonObject config = JsonObject::read(path, kMaxConfigBytes);
  // Gemma 3 with vision: the language model is described in an object of its own.
  const bool nested = config.find_string("model_type") == "gemma3";
  const std::optional<JsonObject> text = nested ? config.find_object("text_config") : std::nullopt;
  if (nested && !text) config.fail(Status::CORRUPT, "text_config", "is missing");
  Metadata metadata = ConfigTranslator(text ? *text : config).translate();
  const std::string name = std::filesystem::path(folder).filename().string();
  if (!name.empty() && name != ".") metadata.set("general.name", name);
  read_hf_tokenizer_config(folder, text ? *text : config, metadata);
  return metadata;
}

}  // namespace kvi
