#include "format/hf_tensor_names.h"

#include <charconv>
#include <span>

#include "base/text.h"

namespace kvi {
namespace {

struct Renaming {
  std::string_view hf;  // without ".weight" or ".bias", and inside a layer without its number
  std::string_view gguf;
  HfArrangement arrangement = HfArrangement::as_stored;  // of the weight
};

constexpr Renaming kModel[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

constexpr Renaming kLayer[] = {
    {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"}, {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

// Gemma norms the outputs of attention and MLP too, so the same name means another place.
constexpr Renaming kGemmaLayer[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

constexpr Renaming kGpt2Model[] = {{"wte", "token_embd"},
                                   {"wpe", "position_embd"},
                                   {"ln_f", "output_norm"},
                                   {"lm_head", "output"}};

constexpr Renaming kGpt2Layer[] = {
    {"ln_1", "attn_norm"},
    {"attn.c_attn", "attn_qkv", HfArrangement::transposed},
    {"attn.c_proj", "attn_output", HfArrangement::transposed},
    {"ln_2", "ffn_norm"},
    {"mlp.c_fc", "ffn_up", HfArrangement::transposed},
    {"mlp.c_proj", "ffn_down", HfArrangement::transposed},
};

// Parts of multimodal checkpoints, and buffers that old versions of transformers saved.
constexpr std::string_view kIgnoredPrefixes[] = {"vision_tower.", "multi_modal_projector.",
                                                 "model.vision_tower.",
                                                 "model.multi_modal_projector."};
constexpr std::string_view kIgnoredSuffixes[] = {".rotary_emb.inv_freq"};
constexpr std::string_view kIgnoredGpt2Suffixes[] = {".attn.bias", ".attn.masked_bias"};

bool consume_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

const Renaming* find_renaming(std::span<const Renaming> table, std::string_view hf) {
  for (const Renaming& renaming : table) {
    if (renaming.hf == hf) return &renaming;
  }
  return nullptr;
}

bool is_ignored(std::string_view architecture, std::string_view name) {
  for (std::string_view prefix : kIgnoredPrefixes) {
    if (name.starts_with(prefix)) return true;
  }
  for (std::string_view suffix : kIgnoredSuffixes) {
    if (name.ends_with(suffix)) return true;
  }
  if (architecture != "gpt2") return false;
  for (std::string_view suffix : kIgnoredGpt2Suffixes) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

// Takes "12." off the front: digits without a leading zero, few enough to be a layer.
std::string_view consume_layer(std::string_view& text) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 5) return {};
  const std::string_view digits = text.substr(0, dot);
  if (digits.find_first_not_of("0123456789") != std::string_view::npos) return {};
  if (digits.size() > 1 && digits[0] == '0') return {};
  text.remove_prefix(dot + 1);
  return digits;
}

}  // namespace

std::optional<HfTensorName> translate_tensor_name(std::string_view architecture,
                                                  std::string_view name) {
  if (is_ignored(architecture, name)) return std::nullopt;
  const bool is_gpt2 = architecture == "gpt2";
  HfTensorName unknown{std::string(name)};

  const std::string_view kind = name.ends_with(".bias") ? ".bias" : ".weight";
  if (!name.ends_with(kind)) return unknown;
  // Checkpoints of Gemma 3 with vision put the language model under one of two prefixes.
  std::string stem(name.substr(0, name.size() - kind.size()));
  std::string_view rest = stem;
  if (consume_prefix(rest, "model.language_model.")) {
    stem = concat("model.", rest);
    rest = stem;
  } else {
    consume_prefix(rest, "language_model.");
  }
  if (is_gpt2) consume_prefix(rest, "transformer.");

  std::string_view layer;
  const Renaming* renaming = nullptr;
  if (consume_prefix(rest, is_gpt2 ? "h." : "model.layers.")) {
    layer = consume_layer(rest);
    if (layer.empty()) return unknown;
    if (architecture == "gemma3") renaming = find_renaming(kGemmaLayer, rest);
    if (renaming == nullptr)
      renaming = find_renaming(is_gpt2 ? std::span<const Renaming>(kGpt2Layer) : kLayer, rest);
  } else {
    renaming = find_renaming(is_gpt2 ? std::span<const Renaming>(kGpt2Model) : kModel, rest);
  }
  if (renaming == nullptr) return unknown;

  HfTensorName result;
  if (!layer.empty()) {
    result.gguf_name = concat("blk.", layer, ".");
    std::from_chars(layer.data(), layer.data() + layer.size(), result.layer);
  }
  result.gguf_name += concat(renaming->gguf, kind);
  if (kind == ".weight") result.arrangement = renaming->arrangement;
  return result;
}

}  // namespace kvi
