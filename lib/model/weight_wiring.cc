#include "model/weight_wiring.h"

#include "base/error.h"
#include "base/text.h"

namespace kvi {

WeightWiring::WeightWiring(const ModelFile& file, const ModelConfig& config, ModelWeights& weights)
    : file_(file), config_(config) {
  weights.ropes_ = config.ropes;
  matrix("token_embd.weight", config.vocab_size, config.embedding_len, &weights.embedding_.tokens);
  weights.embedding_.scale = config.embedding_scale;
  if (config.family->learned_positions) {
    matrix("position_embd.weight", config.context_len, config.embedding_len,
           &weights.embedding_.positions);
  }
  weights.layers_.resize(config.num_layers);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const int rope = config.layers[layer].rope;
    AttentionWeights& attention = weights.layers_[layer].attention;
    attention.rope = rope < 0 ? nullptr : &weights.ropes_[rope];
    wire_attention(layer, attention);
    wire_mlp(layer, weights.layers_[layer].mlp);
  }
  norm("output_norm", config.embedding_len, weights.head_.norm);
  weights.head_.logit_softcap = config.final_softcap;
  const bool tied = file.metadata()
                        .find_bool("kvinfer.tie_word_embeddings")
                        .value_or(file.find("output.weight") == nullptr);
  if (!tied) {
    linear("output", config.vocab_size, config.embedding_len, weights.head_.out);
  } else {  // the embedding is the head
    matrices_.front().targets.push_back(&weights.head_.out.weight);
  }
}

void WeightWiring::wire_attention(int layer, AttentionWeights& attention) {
  const std::string prefix = concat("blk.", layer, ".");
  const int64_t width = config_.embedding_len;
  const int64_t q_len = int64_t{config_.num_heads} * config_.head_dim;
  const int64_t kv_len = int64_t{config_.num_kv_heads} * config_.head_dim;
  attention.num_heads = config_.num_heads;
  attention.num_kv_heads = config_.num_kv_heads;
  attention.head_dim = config_.head_dim;
  attention.softmax_scale = config_.softmax_scale;
  attention.logit_softcap = config_.attention_softcap;
  norm(prefix + "attn_norm", width, attention.input_norm);
  if (config_.family->fused_qkv) {
    const int64_t rows = q_len + 2 * kv_len;
    linear(prefix + "attn_qkv", q_len, width, attention.q, 0, rows);
    linear(prefix + "attn_qkv", kv_len, width, attention.k, q_len, rows);
    linear(prefix + "attn_qkv", kv_len, width, attention.v, q_len + kv_len, rows);
  } else {
    linear(prefix + "attn_q", q_len, width, attention.q);
    linear(prefix + "attn_k", kv_len, width, attention.k);
    linear(prefix + "attn_v", kv_len, width, attention.v);
  }
  if (config_.family->qk_norm) {
    norm(prefix + "attn_q_norm", config_.head_dim, attention.q_norm);
    norm(prefix + "attn_k_norm", config_.head_dim, attention.k_norm);
  }
  linear(prefix + "attn_output", width, q_len, attention.out);
  if (config_.family->post_norms) norm(prefix + "post_attention_norm", width, attention.post_norm);
}

void WeightWiring::wire_mlp(int layer, MlpWeights& mlp) {
  const std::string prefix = concat("blk.", layer, ".");
  mlp.activation = config_.family->activation;
  norm(prefix + "ffn_norm", config_.embedding_len, mlp.input_norm);
  if (config_.family->gated_mlp)
    linear(prefix + "ffn_gate", config_.ffn_len, config_.embedding_len, mlp.gate);
  linear(prefix + "ffn_up", config_.ffn_len, config_.embedding_len, mlp.up);
  linear(prefix + "ffn_down", config_.embedding_len, config_.ffn_len, mlp.down);
  if (config_.family->post_norms)
    norm(prefix + "post_ffw_norm", config_.embedding_len, mlp.post_norm);
}

const TensorInfo& WeightWiring::require(const std::string& name, int64_t rows, int64_t cols) const {
  const TensorInfo& tensor = file_.get(name);
  if (tensor.rows != rows || tensor.cols != cols) {
    throw Error(Status::CORRUPT, concat("tensor ", name, " is [", tensor.rows, ", ", tensor.cols,
                                        "]; expected [", rows, ", ", cols, "]"));
  }
  return tensor;
}

void WeightWiring::matrix(const std::string& name, int64_t rows, int64_t cols,
                          const Matrix** target) {
  matrices_.push_back({&require(name, rows, cols), 0, rows, {target}});
}

void WeightWiring::linear(const std::string& stem, int64_t rows, int64_t cols, Linear& target,
                          int64_t first_row, int64_t tensor_rows) {
  if (tensor_rows == 0) tensor_rows = rows;
  matrices_.push_back(
      {&require(stem + ".weight", tensor_rows, cols), first_row, rows, {&target.weight}});
  if (file_.find(stem + ".bias") != nullptr) {
    vectors_.push_back(
        {&require(stem + ".bias", 1, tensor_rows), first_row, rows, 0, &target.bias});
  }
}

void WeightWiring::norm(const std::string& stem, int64_t size, Norm& target) {
  target.kind = config_.family->norm;
  target.eps = config_.norm_eps;
  vectors_.push_back(
      {&require(stem + ".weight", 1, size), 0, size, config_.norm_weight_offset, &target.weight});
  if (target.kind == NormKind::layer) {
    vectors_.push_back({&require(stem + ".bias", 1, size), 0, size, 0, &target.bias});
  }
}

}  // namespace kvi
