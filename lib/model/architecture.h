// What a model is, as data: its sizes, and how its family's layers are put together.
//
// A family (llama, qwen2, ...) is a row of a table; reading a model file turns that row and the
// file's hyperparameters into a ModelConfig. Nothing here computes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/layer.h"
#include "format/model_file.h"
#include "tensor/layout.h"

namespace kvi {

// One row of the table of families. Tensors named by GGUF conventions; biases and a separate output
// matrix are used where the file has them.
struct Family {
  const char* name;
  NormKind norm;
  Activation activation;
  bool gated_mlp;
  bool fused_qkv;          // attn_qkv: rows of q, then k, then v
  bool qk_norm;            // per-head norms of q and k
  bool post_norms;         // norms on the outputs of attention and mlp
  bool learned_positions;  // position_embd instead of rotation
  bool scaled_embedding;   // by sqrt(embedding_len)
  RopePairs rope_pairs;    // in GGUF files of this family
  int window_period;  // every window_period-th layer is global, the others local; 0: as the file says
};

// nullptr for a family that is not in the table.
const Family* find_family(std::string_view name);
std::string supported_families();  // "llama, qwen2, ..."

struct LayerConfig {
  int window = 0;  // tokens; 0: full attention
  int rope = -1;   // index into ModelConfig::ropes; -1: none
};

struct ModelConfig {
  const Family* family = nullptr;
  int num_layers = 0;
  int embedding_len = 0;
  int ffn_len = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int context_len = 0;
  float norm_eps = 0;
  float norm_weight_offset = 0;  // added to stored norm weights
  float embedding_scale = 1;
  float softmax_scale = 0;
  float attention_softcap = 0;
  float final_softcap = 0;
  int window = 0;  // of the local layers; 0: there are none
  std::vector<Rope> ropes;
  std::vector<LayerConfig> layers;  // [num_layers]

  int num_window_layers() const;
  uint64_t kv_bytes_per_token() const;  // all layers, 16-bit K and V
  KvLayerShape kv_shape(int layer) const;
};

// Throws UNSUPPORTED naming an unknown family or feature, CORRUPT naming the key that is missing or absurd.
ModelConfig read_model_config(const ModelFile& file);

}  // namespace kvi
