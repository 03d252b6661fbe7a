#include "model/architecture.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "model/positions.h"

namespace kvi {
namespace {

using enum NormKind;
using enum Activation;
using enum RopePairs;

constexpr Family kFamilies[] = {
    // name     norm   activation gated  fused  qknorm post   learned scaled pairs        period
    {"llama", rms, silu, true, false, false, false, false, false, interleaved, 0},
    {"qwen2", rms, silu, true, false, false, false, false, false, half_split, 0},
    {"qwen3", rms, silu, true, false, true, false, false, false, half_split, 0},
    {"gemma3", rms, gelu_tanh, true, false, true, true, false, true, half_split, 6},
    {"gpt2", layer, gelu_tanh, false, true, false, false, true, false, half_split, 0},
};

constexpr double kGemmaLocalRopeBase = 10000;
constexpr double kDefaultRopeBase = 10000;

// A hyperparameter that is a count: at least 1, small enough for int and for products of a few of them.
int read_count(const Metadata& metadata, const std::string& key,
               std::optional<int64_t> missing = {}) {
  const std::optional<int64_t> found = metadata.find_int(key);
  if (!found && !missing) metadata.get_int(key);  // throws, naming the key
  const int64_t value = found.value_or(missing.value_or(0));
  if (value < 1 || value > 1 << 28) {
    throw Error(Status::CORRUPT, concat(key, " is ", value, "; expected 1 to ", 1 << 28));
  }
  return static_cast<int>(value);
}

// head_count_kv and the like may be one number or one a layer; only equal ones are supported.
int read_uniform_count(const Metadata& metadata, const std::string& key,
                       std::optional<int64_t> missing) {
  auto value = metadata.all().find(key);
  if (value == metadata.all().end() ||
      !std::holds_alternative<std::vector<int64_t>>(value->second)) {
    return read_count(metadata, key, missing);
  }
  const auto& values = std::get<std::vector<int64_t>>(value->second);
  if (values.empty() ||
      std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) != values.end()) {
    throw Error(Status::UNSUPPORTED,
                concat(key, " differs between layers; one value for all is supported"));
  }
  if (values[0] < 1 || values[0] > 1 << 28)
    throw Error(Status::CORRUPT, concat(key, " is ", values[0], "; expected 1 to ", 1 << 28));
  return static_cast<int>(values[0]);
}

// Which layers are local: one flag a layer, a period, or the family's own period.
std::vector<bool> read_local_layers(const Metadata& metadata, const std::string& prefix,
                                    const Family& family, int num_layers) {
  const std::string key = prefix + "attention.sliding_window_pattern";
  std::vector<bool> local(num_layers, true);
  auto value = metadata.all().find(key);
  int64_t period = family.window_period;
  if (value != metadata.all().end()) {
    if (const auto* flags = std::get_if<std::vector<bool>>(&value->second)) {
      if (flags->size() != static_cast<size_t>(num_layers)) {
        throw Error(Status::CORRUPT,
                    concat(key, " has ", flags->size(), " entries for ", num_layers, " layers"));
      }
      return *flags;
    }
    period = metadata.get_int(key);
    if (period < 0)
      throw Error(Status::CORRUPT, concat(key, " is ", period, "; expected 0 or more"));
  }
  if (period > 0) {
    for (int layer = 0; layer < num_layers; ++layer) local[layer] = (layer + 1) % period != 0;
  }
  return local;
}

void read_sizes(ModelConfig& config, const ModelFile& file, const std::string& prefix) {
  const Metadata& metadata = file.metadata();
  config.num_layers = read_count(metadata, prefix + "block_count");
  if (config.num_layers > 4096) {
    throw Error(Status::CORRUPT,
                concat(prefix, "block_count is ", config.num_layers, "; expected at most 4096"));
  }
  config.embedding_len = read_count(metadata, prefix + "embedding_length");
  config.ffn_len = read_uniform_count(metadata, prefix + "feed_forward_length", {});
  config.num_heads = read_uniform_count(metadata, prefix + "attention.head_count", {});
  config.num_kv_heads = read_uniform_count(metadata, prefix + "attention.head_count_kv",
                                           config.num_heads);
  config.context_len = read_count(metadata, prefix + "context_length");
  config.head_dim = read_count(metadata, prefix + "attention.key_length",
                               config.embedding_len / config.num_heads);
  if (read_count(metadata, prefix + "attention.value_length", config.head_dim) != config.head_dim) {
    throw Error(Status::UNSUPPORTED, "keys and values of different length are not supported");
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    throw Error(Status::CORRUPT,
                concat(prefix, "attention.head_count (", config.num_heads,
                       ") is not a multiple of head_count_kv (", config.num_kv_heads, ")"));
  }
  const TensorInfo& embedding = file.get("token_embd.weight");
  if (embedding.cols != config.embedding_len || embedding.rows > std::numeric_limits<int>::max()) {
    throw Error(Status::CORRUPT,
                concat("tensor token_embd.weight is [", embedding.rows, ", ", embedding.cols,
                       "]; expected [vocabulary, ", config.embedding_len, "]"));
  }
  config.vocab_size = static_cast<int>(embedding.rows);
  const std::string vocab_key = prefix + "vocab_size";
  if (read_count(metadata, vocab_key, config.vocab_size) != config.vocab_size) {
    throw Error(Status::CORRUPT,
                concat(vocab_key, " is ", metadata.get_int(vocab_key),
                       ", but tensor token_embd.weight has ", config.vocab_size, " rows"));
  }
}

// A tensor of a layer that block_count denies would be left out in silence.
void check_layers(const ModelFile& file, const std::string& prefix, int num_layers) {
  constexpr std::string_view kLayer = "blk.";
  for (const TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.starts_with(kLayer)) continue;
    const char* end = tensor.name.data() + tensor.name.size();
    int64_t layer = 0;
    const auto number = std::from_chars(tensor.name.data() + kLayer.size(), end, layer);
    if (number.ec == std::errc::invalid_argument || number.ptr == end || *number.ptr != '.')
      continue;
    if (number.ec == std::errc::result_out_of_range || layer < 0 || layer >= num_layers) {
      throw Error(Status::CORRUPT, concat("tensor ", quoted(tensor.name), " lies beyond the ",
                                          num_layers, " layers that ", prefix, "block_count says"));
    }
  }
}

float read_softcap(const Metadata& metadata, const std::string& key) {
  const double cap = metadata.find_float(key).value_or(0);  // 0: none
  if (!(cap >= 0) || !std::isfinite(cap)) {
    throw Error(Status::CORRUPT, concat(key, " is ", cap, "; expected a finite number from 0 on"));
  }
  return static_cast<float>(cap);
}

}  // namespace

const Family* find_family(std::string_view name) {
  for (const Family& family : kFamilies) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

std::string supported_families() {
  std::string names;
  for (const Family& family : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(family.name);
  return names;
}

int ModelConfig::num_window_layers() const {
  return static_cast<int>(std::count_if(layers.begin(), layers.end(),
                                        [](const LayerConfig& l) { return l.window > 0; }));
}

uint64_t ModelConfig::kv_bytes_per_token() const {
  return uint64_t{2} * num_layers * num_kv_heads * head_dim * 2;
}

KvLayerShape ModelConfig::kv_shape(int layer) const {
  return {.layer = layer, .num_kv_heads = num_kv_heads, .key_dim = head_dim, .value_dim = head_dim};
}

ModelConfig read_model_config(const ModelFile& file) {
  const Metadata& metadata = file.metadata();
  const std::string& architecture = metadata.get_string("general.architecture");
  const std::string prefix = architecture + ".";
  ModelConfig config;
  config.family = find_family(architecture);
  if (config.family == nullptr) {
    throw Error(Status::UNSUPPORTED,
                concat("architecture ", quoted(architecture), " is not supported; supported are ",
                       supported_families()));
  }
  const Family& family = *config.family;
  if (metadata.find_int(prefix + "expert_count").value_or(0) > 0) {
    throw Error(Status::UNSUPPORTED,
                concat(prefix, "expert_count: mixtures of experts are not supported"));
  }
  if (file.tensors().empty()) {
    throw Error(Status::UNSUPPORTED, "the file holds no tensors, so it can only tokenize");
  }
  read_sizes(config, file, prefix);
  check_layers(file, prefix, config.num_layers);

  const char* eps = family.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                                 : "attention.layer_norm_epsilon";
  config.norm_eps = static_cast<float>(metadata.get_float(prefix + eps));
  if (!(config.norm_eps >= 0) || !(config.norm_eps < 1)) {
    throw Error(Status::CORRUPT,
                concat(prefix, eps, " is ", config.norm_eps, "; expected 0 or more, less than 1"));
  }
  config.norm_weight_offset = static_cast<float>(
      metadata.find_float("kvinfer.norm_weight_offset").value_or(0));
  config.embedding_scale = family.scaled_embedding
                               ? std::sqrt(static_cast<float>(config.embedding_len))
                               : 1.0f;
  config.softmax_scale = static_cast<float>(
      metadata.find_positive(prefix + "attention.scale")
          .value_or(1 / std::sqrt(static_cast<double>(config.head_dim))));
  config.attention_softcap = read_softcap(metadata, prefix + "attn_logit_softcapping");
  config.final_softcap = read_softcap(metadata, prefix + "final_logit_softcapping");

  config.window = static_cast<int>(
      std::clamp<int64_t>(metadata.find_int(prefix + "attention.sliding_window").value_or(0), 0,
                          std::numeric_limits<int>::max()));
  std::vector<bool> local(config.num_layers, false);
  if (config.window > 0) local = read_local_layers(metadata, prefix, family, config.num_layers);

  if (!family.learned_positions) {
    RopePairs pairs = family.rope_pairs;
    if (const std::string* arranged = metadata.find_string("kvinfer.rope_pairs")) {
      pairs = *arranged == "half_split" ? RopePairs::half_split : RopePairs::interleaved;
    }
    config.ropes.push_back(read_rope(file, architecture, pairs, config.head_dim, kDefaultRopeBase));
    if (family.window_period > 0) {  // local layers rotate by frequencies of their own
      const double base = metadata.find_positive(prefix + "rope.freq_base_swa")
                              .value_or(kGemmaLocalRopeBase);
      config.ropes.push_back(plain_rope(pairs, config.ropes[0].rotary_dim, base));
    }
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const int rope = config.ropes.empty() ? -1 : local[layer] && config.ropes.size() > 1 ? 1 : 0;
    config.layers.push_back({.window = local[layer] ? config.window : 0, .rope = rope});
  }
  return config;
}

}  // namespace kvi
