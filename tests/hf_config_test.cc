#include "format/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/hf_tensor_names.h"
#include "support/expect_error.h"
#include "support/safetensors_writer.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

using nlohmann::json;

class HfConfigTest : public testing::Test {
 protected:
  Metadata read(const json& config) {
    folder_.write("config.json", config.dump());
    return read_hf_config(folder_.path());
  }
  static json with(json config, const char* key, json value) {
    config[key] = std::move(value);
    return config;
  }
  TempFolder folder_;
};

TEST_F(HfConfigTest, LlamaHasTheKeysOfItsGguf) {
  json config = tiny_hf_config("llama");
  config["rms_norm_eps"] = 1e-5;
  config["rope_theta"] = 100000.0;
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_string("general.architecture"), "llama");
  EXPECT_EQ(metadata.get_int("llama.block_count"), 2);
  EXPECT_EQ(metadata.get_int("llama.context_length"), 64);
  EXPECT_EQ(metadata.get_int("llama.embedding_length"), 8);
  EXPECT_EQ(metadata.get_int("llama.feed_forward_length"), 12);
  EXPECT_EQ(metadata.get_int("llama.attention.head_count"), 2);
  EXPECT_EQ(metadata.get_int("llama.attention.head_count_kv"), 1);
  EXPECT_EQ(metadata.get_int("llama.attention.key_length"), 4);
  EXPECT_EQ(metadata.get_int("llama.attention.value_length"), 4);
  EXPECT_EQ(metadata.get_float("llama.attention.layer_norm_rms_epsilon"), 1e-5);
  EXPECT_EQ(metadata.get_float("llama.rope.freq_base"), 100000.0);
  EXPECT_EQ(metadata.get_int("llama.rope.dimension_count"), 4);
  EXPECT_EQ(metadata.get_int("llama.vocab_size"), 16);
  EXPECT_EQ(metadata.get_string("kvinfer.rope_pairs"), "half_split");
  EXPECT_EQ(metadata.find_bool("kvinfer.tie_word_embeddings"), false);
  EXPECT_FALSE(metadata.contains("llama.attention.sliding_window"));
  EXPECT_FALSE(metadata.contains("llama.rope.scaling.type"));
  EXPECT_FALSE(metadata.contains("kvinfer.norm_weight_offset"));
}

TEST_F(HfConfigTest, MissingKeysMeanWhatTransformersTakesThemToMean) {
  json config = tiny_hf_config("llama");
  for (const char* key : {"num_key_value_heads", "head_dim", "max_position_embeddings"})
    config.erase(key);
  const Metadata llama = read(config);
  EXPECT_EQ(llama.get_int("llama.attention.head_count_kv"), 2);
  EXPECT_EQ(llama.get_int("llama.attention.key_length"), 4);
  EXPECT_EQ(llama.get_int("llama.context_length"), 2048);
  EXPECT_EQ(llama.get_float("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(llama.get_float("llama.attention.layer_norm_rms_epsilon"), 1e-6);

  const Metadata gemma = read({{"model_type", "gemma3_text"}});
  EXPECT_EQ(gemma.get_int("gemma3.embedding_length"), 2304);
  EXPECT_EQ(gemma.get_int("gemma3.attention.key_length"), 256);
  EXPECT_EQ(gemma.get_float("gemma3.rope.freq_base"), 1e6);
  EXPECT_EQ(gemma.get_float("gemma3.rope.freq_base_swa"), 1e4);
  EXPECT_EQ(gemma.find_bool("kvinfer.tie_word_embeddings"), true);

  json qwen3 = tiny_hf_config("qwen3");
  qwen3.erase("head_dim");
  EXPECT_EQ(read(qwen3).get_int("qwen3.attention.key_length"), 128);
}

TEST_F(HfConfigTest, MistralHasAWindowOnEveryLayerUnlessItIsNull) {
  const json config = tiny_hf_config("mistral");
  const Metadata metadata = read(with(config, "sliding_window", 32));
  EXPECT_EQ(metadata.get_string("general.architecture"), "llama");
  EXPECT_EQ(metadata.get_int("llama.attention.sliding_window"), 32);
  EXPECT_EQ(*metadata.find_bools("llama.attention.sliding_window_pattern"),
            (std::vector<bool>{true, true}));
  EXPECT_EQ(read(config).get_int("llama.attention.sliding_window"), 4096);
  EXPECT_FALSE(
      read(with(config, "sliding_window", nullptr)).contains("llama.attention.sliding_window"));
}

TEST_F(HfConfigTest, QwenHasAWindowOnlyWhereItIsSwitchedOn) {
  json config = tiny_hf_config("qwen2");
  config["sliding_window"] = 32;
  config["max_window_layers"] = 1;
  EXPECT_FALSE(read(config).contains("qwen2.attention.sliding_window"));
  config["use_sliding_window"] = true;
  EXPECT_EQ(*read(config).find_bools("qwen2.attention.sliding_window_pattern"),
            (std::vector<bool>{false, true}));
  config["max_window_layers"] = 0;
  EXPECT_EQ(*read(config).find_bools("qwen2.attention.sliding_window_pattern"),
            (std::vector<bool>{true, true}));
  config["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(*read(config).find_bools("qwen2.attention.sliding_window_pattern"),
            (std::vector<bool>{true, false}));
  EXPECT_FALSE(read(tiny_hf_config("qwen3")).contains("qwen3.attention.sliding_window"));
}

TEST_F(HfConfigTest, GemmaSaysWhatItsGgufDoes) {
  json config = tiny_hf_config("gemma3_text");
  config["num_hidden_layers"] = 7;
  config["sliding_window"] = 512;
  config["query_pre_attn_scalar"] = 256;
  config["rope_theta"] = 1000000.0;
  config["rope_local_base_freq"] = 20000.0;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["rope_scaling"] = {{"factor", 8.0}, {"rope_type", "linear"}};
  config["final_logit_softcapping"] = nullptr;
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_string("general.architecture"), "gemma3");
  EXPECT_EQ(metadata.get_int("gemma3.attention.sliding_window"), 512);
  EXPECT_EQ(*metadata.find_bools("gemma3.attention.sliding_window_pattern"),
            (std::vector<bool>{true, true, true, true, true, false, true}));
  EXPECT_EQ(metadata.get_float("gemma3.attention.scale"), 1.0 / 16);
  EXPECT_EQ(metadata.get_float("kvinfer.norm_weight_offset"), 1.0);
  EXPECT_EQ(metadata.get_float("gemma3.rope.freq_base_swa"), 20000.0);
  EXPECT_EQ(metadata.get_string("gemma3.rope.scaling.type"), "linear");
  EXPECT_EQ(metadata.get_float("gemma3.rope.scaling.factor"), 8.0);
  EXPECT_FALSE(metadata.contains("gemma3.final_logit_softcapping"));

  config["sliding_window_pattern"] = 2;
  EXPECT_EQ(read(config).find_bools("gemma3.attention.sliding_window_pattern")->at(1), false);
}

TEST_F(HfConfigTest, GemmaWithVisionIsReadAsItsLanguageModel) {
  json text = tiny_hf_config("gemma3_text");
  text["bos_token_id"] = 2;
  json config = {
      {"model_type", "gemma3"}, {"text_config", text}, {"vision_config", {{"hidden_size", 99}}}};
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_int("gemma3.embedding_length"), 8);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.bos_token_id"), 2);
  config.erase("text_config");
  EXPECT_ERROR(read(config), CORRUPT, "text_config");
}

TEST_F(HfConfigTest, Gpt2HasTheKeysOfItsGguf) {
  json config = tiny_hf_config("gpt2");
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_string("general.architecture"), "gpt2");
  EXPECT_EQ(metadata.get_int("gpt2.block_count"), 2);
  EXPECT_EQ(metadata.get_int("gpt2.context_length"), 64);
  EXPECT_EQ(metadata.get_int("gpt2.feed_forward_length"), 32);
  EXPECT_EQ(metadata.get_float("gpt2.attention.layer_norm_epsilon"), 1e-5);
  EXPECT_EQ(metadata.find_bool("kvinfer.tie_word_embeddings"), true);
  EXPECT_FALSE(metadata.contains("kvinfer.rope_pairs"));
  config["n_inner"] = 20;
  EXPECT_EQ(read(config).get_int("gpt2.feed_forward_length"), 20);
  EXPECT_ERROR(read(with(config, "scale_attn_by_inverse_layer_idx", true)), UNSUPPORTED,
               "scale_attn_by_inverse_layer_idx");
  EXPECT_ERROR(read(with(config, "activation_function", "relu")), UNSUPPORTED, "'relu'");
}

TEST_F(HfConfigTest, RopeParametersOfTransformers5AreRead) {
  json config = tiny_hf_config("llama");
  config["rope_parameters"] = {{"rope_type", "llama3"},   {"rope_theta", 500000.0},
                               {"factor", 8.0},           {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 32}};
  const Metadata llama = read(config);
  EXPECT_EQ(llama.get_float("llama.rope.freq_base"), 500000.0);
  EXPECT_EQ(llama.get_string("llama.rope.scaling.type"), "llama3");
  EXPECT_EQ(llama.get_float("llama.rope.scaling.factor"), 8.0);
  EXPECT_EQ(llama.get_float("llama.rope.scaling.low_freq_factor"), 1.0);
  EXPECT_EQ(llama.get_float("llama.rope.scaling.high_freq_factor"), 4.0);
  EXPECT_EQ(llama.get_int("llama.rope.scaling.original_context_length"), 32);
  config["model_type"] = "qwen2";
  EXPECT_EQ(read(config).get_float("qwen2.rope.scaling.high_freq_factor"), 4.0);

  json gemma = tiny_hf_config("gemma3_text");
  gemma["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 300.0}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 70.0}}}};
  const Metadata metadata = read(gemma);
  EXPECT_EQ(metadata.get_float("gemma3.rope.freq_base"), 300.0);
  EXPECT_EQ(metadata.get_float("gemma3.rope.freq_base_swa"), 70.0);
  EXPECT_EQ(metadata.get_float("gemma3.rope.scaling.factor"), 4.0);
  gemma["rope_parameters"]["sliding_attention"]["rope_type"] = "yarn";
  EXPECT_ERROR(read(gemma), UNSUPPORTED, "rope_parameters.sliding_attention.rope_type");
}

TEST_F(HfConfigTest, EveryScalingOfRopeIsReadOrNamed) {
  json config = tiny_hf_config("llama");
  config["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 4.0}, {"beta_fast", 30.0}, {"attention_factor", 1.5}};
  const Metadata yarn = read(config);
  EXPECT_EQ(yarn.get_string("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(yarn.get_int("llama.rope.scaling.original_context_length"), 64);
  EXPECT_EQ(yarn.get_float("llama.rope.scaling.yarn_beta_fast"), 30.0);
  EXPECT_EQ(yarn.get_float("llama.rope.scaling.attn_factor"), 1.5);
  EXPECT_FALSE(yarn.contains("llama.rope.scaling.yarn_beta_slow"));
  EXPECT_EQ(read(with(config, "rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}))
                .get_string("llama.rope.scaling.type"),
            "dynamic");
  EXPECT_FALSE(read(with(config, "rope_scaling", {{"rope_type", "default"}}))
                   .contains("llama.rope.scaling.type"));
  EXPECT_ERROR(read(with(config, "rope_scaling", {{"type", "longrope"}})), UNSUPPORTED,
               "'longrope'");
  EXPECT_ERROR(read(with(config, "rope_scaling", {{"type", "linear"}})), CORRUPT,
               "rope_scaling.factor");
  EXPECT_ERROR(read(with(config, "rope_scaling", {{"type", "llama3"}, {"factor", 2.0}})), CORRUPT,
               "low_freq_factor");
  EXPECT_ERROR(read(with(config, "rope_scaling", "linear")), CORRUPT,
               "'rope_scaling' must be an object");
  EXPECT_EQ(read(with(config, "partial_rotary_factor", 0.5)).get_int("llama.rope.dimension_count"),
            2);
  EXPECT_ERROR(read(with(config, "partial_rotary_factor", 1.5)), CORRUPT, "partial_rotary_factor");
}

TEST_F(HfConfigTest, OtherModelsAndFormatsAreNamed) {
  const json config = tiny_hf_config("llama");
  EXPECT_ERROR(read(with(config, "model_type", "mamba")), UNSUPPORTED, "'mamba'");
  EXPECT_ERROR(read(with(config, "model_type", nullptr)), UNSUPPORTED, "model_type");
  EXPECT_ERROR(read(with(config, "hidden_act", "relu")), UNSUPPORTED, "'relu'");
  EXPECT_ERROR(read(with(config, "quantization_config", {{"quant_method", "gptq"}})), UNSUPPORTED,
               "quantization_config");
  EXPECT_ERROR(read(with(config, "layer_types", {"full_attention", "linear_attention"})),
               UNSUPPORTED, "'linear_attention'");
  EXPECT_ERROR(read(with(tiny_hf_config("gemma3_text"), "use_bidirectional_attention", true)),
               UNSUPPORTED, "use_bidirectional_attention");
}

TEST_F(HfConfigTest, ContradictionsAreNamed) {
  json config = tiny_hf_config("llama");
  EXPECT_ERROR(read(with(config, "layer_types", {"full_attention"})), CORRUPT, "layer_types");
  EXPECT_ERROR(read(with(config, "layer_types", {"sliding_attention", "full_attention"})), CORRUPT,
               "sliding_window");
  EXPECT_ERROR(read(with(config, "num_key_value_heads", 3)), CORRUPT, "'num_key_value_heads' is 3");
  EXPECT_ERROR(read(with(config, "head_dim", 5)), CORRUPT, "'head_dim'");
  EXPECT_ERROR(read(with(config, "partial_rotary_factor", 0.75)), CORRUPT,
               "'partial_rotary_factor'");
  config["head_dim"] = nullptr;
  EXPECT_ERROR(read(with(config, "num_attention_heads", 3)), CORRUPT, "'hidden_size' is 8");
  EXPECT_ERROR(read(with(config, "num_hidden_layers", 1 << 20)), UNSUPPORTED, "num_hidden_layers");
}

TEST_F(HfConfigTest, NumbersOutOfRangeAreNamedByTheKeysOfConfigJson) {
  const json config = tiny_hf_config("llama");
  for (double value : {0.0, -1.0}) {
    EXPECT_ERROR(read(with(config, "rope_theta", value)), CORRUPT, "'rope_theta' is");
    EXPECT_ERROR(read(with(config, "rope_scaling", {{"type", "linear"}, {"factor", value}})),
                 CORRUPT, "'rope_scaling.factor' is");
  }
  for (double value : {1.0, -1.0}) {
    EXPECT_ERROR(read(with(config, "rms_norm_eps", value)), CORRUPT, "'rms_norm_eps' is");
    EXPECT_ERROR(read(with(tiny_hf_config("gpt2"), "layer_norm_epsilon", value)), CORRUPT,
                 "'layer_norm_epsilon' is");
  }
}

TEST_F(HfConfigTest, BiasesAreDemandedWhereTransformersHasThem) {
  auto biased = [&](const char* family, const char* key) {
    const Metadata metadata = read(with(tiny_hf_config(family), key, true));
    const auto* names = metadata.find_strings("kvinfer.biased_projections");
    return names == nullptr ? 0 : names->size();
  };
  EXPECT_EQ(biased("llama", "attention_bias"), 4u);
  EXPECT_EQ(biased("llama", "mlp_bias"), 3u);
  EXPECT_EQ(biased("qwen3", "attention_bias"), 4u);
  EXPECT_EQ(biased("qwen3", "mlp_bias"), 0u);
  EXPECT_EQ(biased("mistral", "attention_bias"), 0u);
  EXPECT_EQ(biased("qwen2", "attention_bias"), 0u);
}

TEST_F(HfConfigTest, SizesMustBePositiveWholeNumbers) {
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& value : {json(0), json(-1), json(2.5), json("8"), json(true), json::array({8}),
                              json(uint64_t{1} << 40), json(UINT64_MAX)}) {
      EXPECT_ERROR(read(with(tiny_hf_config("llama"), key, value)), CORRUPT, key) << value;
    }
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    EXPECT_ERROR(read(with(tiny_hf_config("llama"), key, "1")), CORRUPT, key);
  }
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    json config = tiny_hf_config("llama");
    config.erase(key);
    EXPECT_ERROR(read(config), CORRUPT, std::string(key) + "' is missing");
  }
}

TEST_F(HfConfigTest, FilesThatAreNoJsonObjectAreRefused) {
  for (const char* text :
       {"", "{", "[]", "null", "{\"a\": 1e999}", "{\"a\": \"\xff\"}", "\xef\xbb\xbf"}) {
    folder_.write("config.json", text);
    EXPECT_ERROR(read_hf_config(folder_.path()), CORRUPT, "config.json") << text;
  }
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100000; ++i) deep += '[';
  folder_.write("config.json", deep);
  EXPECT_ERROR(read_hf_config(folder_.path()), UNSUPPORTED, "nested");
  folder_.write("config.json", std::string(5 << 20, ' '));
  EXPECT_ERROR(read_hf_config(folder_.path()), UNSUPPORTED, "5242880 bytes");
}

TEST_F(HfConfigTest, SpecialTokensComeFromBothConfigs) {
  json config = tiny_hf_config("llama");
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  config["pad_token_id"] = nullptr;
  EXPECT_EQ(*read(config).find_ints("kvinfer.eos_token_ids"), (std::vector<int64_t>{2}));
  folder_.write("generation_config.json", R"({"eos_token_id": [5, 2, 7]})");
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.bos_token_id"), 1);
  EXPECT_EQ(metadata.get_int("tokenizer.ggml.eos_token_id"), 5);
  EXPECT_EQ(*metadata.find_ints("kvinfer.eos_token_ids"), (std::vector<int64_t>{5, 2, 7}));
  EXPECT_FALSE(metadata.contains("tokenizer.ggml.padding_token_id"));
  for (const json& ids :
       {json(-1), json("2"), json::array({1, "x"}), json::array({json::array({1})})}) {
    EXPECT_ERROR(read(with(config, "eos_token_id", ids)), CORRUPT, "eos_token_id") << ids;
  }
}

TEST_F(HfConfigTest, TheChatTemplateIsFoundWhereverItIs) {
  const json config = tiny_hf_config("llama");
  EXPECT_FALSE(read(config).contains("tokenizer.chat_template"));
  folder_.write("tokenizer_config.json",
                R"({"chat_template": "one", "add_bos_token": true, "bos_token": {"content": "<s>"},
                    "eos_token": "</s>"})");
  const Metadata metadata = read(config);
  EXPECT_EQ(metadata.get_string("tokenizer.chat_template"), "one");
  EXPECT_EQ(metadata.find_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(metadata.get_string("kvinfer.bos_token"), "<s>");
  EXPECT_EQ(metadata.get_string("kvinfer.eos_token"), "</s>");
  folder_.write("tokenizer_config.json",
                R"({"chat_template": [{"name": "tool_use", "template": "no"},
                                      {"name": "default", "template": "two"}]})");
  EXPECT_EQ(read(config).get_string("tokenizer.chat_template"), "two");
  folder_.write("chat_template.json", R"({"chat_template": "three"})");
  EXPECT_EQ(read(config).get_string("tokenizer.chat_template"), "three");
  folder_.write("chat_template.jinja", "four");
  EXPECT_EQ(read(config).get_string("tokenizer.chat_template"), "four");
  folder_.write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_ERROR(read(config), CORRUPT, "chat_template");
}

std::string gguf_name(const char* architecture, const char* name) {
  const std::optional<HfTensorName> result = translate_tensor_name(architecture, name);
  if (!result) return "ignored";
  return (result->arrangement == HfArrangement::transposed ? "transposed " : "") +
         result->gguf_name;
}

TEST(HfTensorNamesTest, EachFamilyHasItsNames) {
  EXPECT_EQ(gguf_name("llama", "model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(gguf_name("qwen2", "model.layers.0.self_attn.k_proj.bias"), "blk.0.attn_k.bias");
  EXPECT_EQ(gguf_name("qwen3", "model.layers.0.self_attn.q_norm.weight"),
            "blk.0.attn_q_norm.weight");
  EXPECT_EQ(gguf_name("llama", "lm_head.weight"), "output.weight");
  // The same name is another place in Gemma.
  EXPECT_EQ(gguf_name("llama", "model.layers.3.post_attention_layernorm.weight"),
            "blk.3.ffn_norm.weight");
  EXPECT_EQ(gguf_name("gemma3", "model.layers.3.post_attention_layernorm.weight"),
            "blk.3.post_attention_norm.weight");
  EXPECT_EQ(gguf_name("gemma3", "model.layers.3.pre_feedforward_layernorm.weight"),
            "blk.3.ffn_norm.weight");
  EXPECT_EQ(gguf_name("gemma3", "model.layers.3.post_feedforward_layernorm.weight"),
            "blk.3.post_ffw_norm.weight");
  EXPECT_EQ(gguf_name("gpt2", "h.11.mlp.c_proj.weight"), "transposed blk.11.ffn_down.weight");
  EXPECT_EQ(gguf_name("gpt2", "transformer.h.11.mlp.c_proj.bias"), "blk.11.ffn_down.bias");
  EXPECT_EQ(gguf_name("gpt2", "transformer.wpe.weight"), "position_embd.weight");
}

TEST(HfTensorNamesTest, BothPrefixesOfALanguageModelBesideVisionAreKnown) {
  EXPECT_EQ(gguf_name("gemma3", "language_model.model.layers.0.mlp.up_proj.weight"),
            "blk.0.ffn_up.weight");
  EXPECT_EQ(gguf_name("gemma3", "model.language_model.layers.0.mlp.up_proj.weight"),
            "blk.0.ffn_up.weight");
  EXPECT_EQ(gguf_name("gemma3", "language_model.lm_head.weight"), "output.weight");
  EXPECT_EQ(gguf_name("gemma3", "vision_tower.head.probe"), "ignored");
  EXPECT_EQ(gguf_name("gemma3", "model.multi_modal_projector.mm_soft_emb_norm.weight"), "ignored");
  EXPECT_EQ(gguf_name("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"), "ignored");
  EXPECT_EQ(gguf_name("gpt2", "h.0.attn.bias"), "ignored");
}

TEST(HfTensorNamesTest, UnknownNamesStayAsTheyAre) {
  for (const char* name :
       {"", ".", ".weight", "model.layers..weight", "model.layers.01.mlp.up_proj.weight",
        "model.layers.999999.mlp.up_proj.weight", "model.layers.-1.mlp.up_proj.weight",
        "model.layers.0.weight", "model.layers.0.mlp.up_proj", "lm_head.bias2",
        "transformer.h.0.ln_1.weight", "model.layers.0.attn.bias"}) {
    EXPECT_EQ(gguf_name("llama", name), name);
  }
}

}  // namespace
}  // namespace kvi
