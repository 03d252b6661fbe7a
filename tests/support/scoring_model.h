// A model with one engine over it, through the C ABI, that answers with logits.
//
// Failures come as std::runtime_error with the library's message.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kvinfer/kvinfer.h"

namespace kvi {

class ScoringModel {
 public:
  explicit ScoringModel(const std::string& path, int32_t backend = KVI_BACKEND_CPU) {
    kvi_model_options options;
    kvi_model_options_init(&options, sizeof options);
    options.backend = backend;
    kvi_error* error = nullptr;
    kvi_model* model = nullptr;
    kvi_model_open(path.data(), path.size(), &options, &model, &error);
    throw_if(error);
    model_.reset(model);
  }

  void create_engine(int32_t activations) {
    kvi_engine_options options;
    kvi_engine_options_init(&options, sizeof options);
    options.activations = activations;
    options.max_model_len = std::min(2048u, context_len());
    kvi_error* error = nullptr;
    kvi_engine* engine = nullptr;
    kvi_engine_create(model_.get(), &options, &engine, &error);
    throw_if(error);
    engine_.reset(engine);
  }

  // The logits that predict tokens[first] and all after it, [tokens.size() - first][vocab_size].
  std::vector<float> logits(const std::vector<int32_t>& tokens, size_t first) {
    std::vector<float> out((tokens.size() - first) * vocab_size());
    kvi_error* error = nullptr;
    kvi_score(engine_.get(), tokens.data(), tokens.size(), first, nullptr, nullptr, out.data(),
              &error);
    throw_if(error);
    return out;
  }

  size_t vocab_size() const { return info().vocab_size; }
  uint32_t context_len() const { return info().context_len; }

 private:
  static void throw_if(kvi_error* error) {
    if (error == nullptr) return;
    const std::string message = kvi_error_message(error);
    kvi_error_release(error);
    throw std::runtime_error(message);
  }

  kvi_model_info info() const {
    kvi_model_info info;
    kvi_model_info_init(&info, sizeof info);
    kvi_model_get_info(model_.get(), &info, nullptr);
    return info;
  }

  struct Release {
    void operator()(kvi_model* model) const { kvi_model_release(model); }
    void operator()(kvi_engine* engine) const { kvi_engine_release(engine); }
  };
  std::unique_ptr<kvi_model, Release> model_;
  std::unique_ptr<kvi_engine, Release> engine_;
};

}  // namespace kvi
