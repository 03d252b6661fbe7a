// A synthetic model's logits by definition, in double precision: the oracle of every backend's executor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "support/synthetic_model.h"
#include "tensor/half.h"

namespace kvi {

struct Family {
  const char* name;
  SyntheticConfig config;
};

// Between them, every part of a layer.
inline std::vector<Family> families() {
  SyntheticConfig llama;

  SyntheticConfig qwen;
  qwen.has_biases = true;
  qwen.rope_pairs = RopePairs::half_split;
  qwen.num_heads = 6;
  qwen.num_kv_heads = 2;
  qwen.head_dim = 24;
  qwen.rotary_dim = 12;

  SyntheticConfig gemma;
  gemma.has_head_norms = gemma.has_post_norms = true;
  gemma.rope_pairs = RopePairs::half_split;
  gemma.activation = Activation::gelu_tanh;
  gemma.embedding_scale = 8;
  gemma.window = 20;
  gemma.softcap = 3;
  gemma.num_kv_heads = 1;
  gemma.page_len = 32;

  SyntheticConfig gpt2;
  gpt2.norm = NormKind::layer;
  gpt2.has_biases = true;
  gpt2.is_gated = false;
  gpt2.activation = Activation::gelu_tanh;
  gpt2.rotary_dim = 0;
  gpt2.num_kv_heads = 4;

  return {{"llama", llama}, {"qwen", qwen}, {"gemma", gemma}, {"gpt2", gpt2}};
}

using Row = std::vector<double>;

// The layers by definition, in double precision, one sequence from its start.
class Reference {
 public:
  explicit Reference(const SyntheticModel& model) : model_(model), config_(model.config()) {}

  std::vector<float> logits(const std::vector<int32_t>& tokens) {
    std::vector<Row> hidden;
    for (size_t position = 0; position < tokens.size(); ++position) {
      const std::vector<float> token = model_.row(model_.embedding().tokens, tokens[position]);
      Row row(token.begin(), token.end());
      for (double& value : row) value *= config_.embedding_scale;
      if (model_.embedding().positions != nullptr) {
        add(model_.row(model_.embedding().positions, static_cast<int64_t>(position)), row);
      }
      hidden.push_back(row);
    }
    for (int i = 0; i < config_.num_layers; ++i) run_layer(i, hidden);
    std::vector<float> out;
    for (const Row& row : hidden) {
      for (double logit : project(model_.head().out, norm(model_.head().norm, row))) {
        if (config_.softcap > 0) logit = config_.softcap * std::tanh(logit / config_.softcap);
        out.push_back(static_cast<float>(logit));
      }
    }
    return out;
  }

 private:
  template <typename Values>
  static void add(const Values& values, Row& to) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += values[i];
  }

  Row norm(const Norm& norm, const Row& x) const {
    if (norm.kind == NormKind::none) return x;
    double mean = 0, squares = 0;
    if (norm.kind == NormKind::layer) {
      for (double value : x) mean += value / x.size();
    }
    for (double value : x) squares += (value - mean) * (value - mean) / x.size();
    Row out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      out[i] = (x[i] - mean) / std::sqrt(squares + norm.eps) * (*model_.values(norm.weight))[i];
      if (norm.bias != nullptr) out[i] += (*model_.values(norm.bias))[i];
    }
    return out;
  }

  Row project(const Linear& linear, const Row& x) const {
    Row out;
    for (int64_t n = 0; n < linear.weight->rows(); ++n) {
      const std::vector<float> weights = model_.row(linear.weight, n);
      double sum = linear.bias == nullptr ? 0 : (*model_.values(linear.bias))[n];
      for (size_t k = 0; k < x.size(); ++k) sum += x[k] * weights[k];
      out.push_back(sum);
    }
    return out;
  }

  // Norm and rotation of each head, in place.
  void finish_heads(const AttentionWeights& weights, const Norm& head_norm, int position,
                    Row& row) {
    const size_t head_dim = weights.head_dim;
    for (size_t first = 0; first < row.size(); first += head_dim) {
      Row head = norm(head_norm, Row(row.begin() + first, row.begin() + first + head_dim));
      if (weights.rope != nullptr) {
        const int half = weights.rope->rotary_dim / 2;
        const bool adjacent = weights.rope->pairs == RopePairs::interleaved;
        for (int i = 0; i < half; ++i) {
          double& a = head[adjacent ? 2 * i : i];
          double& b = head[adjacent ? 2 * i + 1 : i + half];
          const double angle = position * weights.rope->inverse_frequencies[i];
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
      }
      std::copy(head.begin(), head.end(), row.begin() + first);
    }
  }

  double rounded(double value) const {
    const float single = static_cast<float>(value);
    return config_.kv_dtype == DType::F32 ? single : f16_to_f32(f32_to_f16(single));
  }

  void run_layer(int index, std::vector<Row>& hidden) {
    const SyntheticModel::Layer& layer = model_.layers()[index];
    const AttentionWeights& attention = layer.attention;
    const int window = config_.window_of(index), head_dim = attention.head_dim;
    const int group = attention.num_heads / attention.num_kv_heads;
    std::vector<Row> queries, keys, values;
    for (size_t position = 0; position < hidden.size(); ++position) {
      const Row x = norm(attention.input_norm, hidden[position]);
      queries.push_back(project(attention.q, x));
      keys.push_back(project(attention.k, x));
      values.push_back(project(attention.v, x));
      finish_heads(attention, attention.q_norm, static_cast<int>(position), queries.back());
      finish_heads(attention, attention.k_norm, static_cast<int>(position), keys.back());
      for (double& key : keys.back()) key = rounded(key);
      for (double& value : values.back()) value = rounded(value);
    }
    for (int position = 0; position < static_cast<int>(hidden.size()); ++position) {
      Row attended(config_.q_len(), 0.0);
      for (int h = 0; h < attention.num_heads; ++h) {
        const double* query = queries[position].data() + h * head_dim;
        const int kv = h / group * head_dim;
        double sum = 0;
        for (int j = window == 0 ? 0 : std::max(0, position + 1 - window); j <= position; ++j) {
          double score = 0;
          for (int d = 0; d < head_dim; ++d) score += query[d] * keys[j][kv + d];
          score *= attention.softmax_scale;
          if (config_.softcap > 0) score = config_.softcap * std::tanh(score / config_.softcap);
          sum += std::exp(score);
          for (int d = 0; d < head_dim; ++d) {
            attended[h * head_dim + d] += std::exp(score) * values[j][kv + d];
          }
        }
        for (int d = 0; d < head_dim; ++d) attended[h * head_dim + d] /= sum;
      }
      Row& row = hidden[position];
      add(norm(attention.post_norm, project(attention.out, attended)), row);

      const MlpWeights& mlp = layer.mlp;
      const Row x = norm(mlp.input_norm, row);
      Row up = project(mlp.up, x);
      Row gate = mlp.gate.weight != nullptr ? project(mlp.gate, x) : up;
      for (size_t i = 0; i < up.size(); ++i) {
        const double g = gate[i];
        const double active = mlp.activation == Activation::silu
                                  ? g / (1 + std::exp(-g))
                                  : 0.5 * g *
                                        (1 + std::tanh(std::sqrt(2 / M_PI) *
                                                       (g + 0.044715 * g * g * g)));
        up[i] = mlp.gate.weight != nullptr ? active * up[i] : active;
      }
      add(norm(mlp.post_norm, project(mlp.down, up)), row);
    }
  }

  const SyntheticModel& model_;
  const SyntheticConfig& config_;
};

inline std::vector<int32_t> random_tokens(int count, int vocab_size, std::mt19937_64& random) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

inline SyntheticChunk chunk_of(int sequence, const std::vector<int32_t>& tokens, int first,
                               int count) {
  return {sequence, first, {tokens.begin() + first, tokens.begin() + first + count}};
}

// The largest difference, as a part of the largest value.
inline double relative_error(const std::vector<float>& values, const std::vector<float>& exact) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference = std::max(difference, std::abs(double{values[i]} - exact[i]));
    largest = std::max(largest, std::abs(double{exact[i]}));
    if (std::isnan(values[i])) return values[i];
  }
  return difference / largest;
}

}  // namespace kvi
