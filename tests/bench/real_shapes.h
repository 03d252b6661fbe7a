// The shapes of the two real models that the targets name, for benchmarks with random weights.
#pragma once

#include "support/synthetic_model.h"

namespace kvi {

// SmolLM2-135M-Instruct Q4_1.
inline SyntheticConfig smollm2_shape() {
  SyntheticConfig config;
  config.num_layers = 30;
  config.embedding_len = 576;
  config.num_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = config.rotary_dim = 64;
  config.ffn_len = 1536;
  config.vocab_size = 49152;
  config.dtype = DType::Q4_1;
  return config;
}

// Gemma 3 270M Q4_K_M, whose matrices are mostly Q5_0.
inline SyntheticConfig gemma3_shape() {
  SyntheticConfig config;
  config.num_layers = 18;
  config.embedding_len = 640;
  config.num_heads = 4;
  config.num_kv_heads = 1;
  config.head_dim = config.rotary_dim = 256;
  config.ffn_len = 2048;
  config.vocab_size = 262144;
  config.has_head_norms = config.has_post_norms = true;
  config.activation = Activation::gelu_tanh;
  config.rope_pairs = RopePairs::half_split;
  config.embedding_scale = 25;
  config.window = 512;
  config.dtype = DType::Q5_0;
  return config;
}

}  // namespace kvi
