// A model as users hold it: its metadata, its tokenizer and chat template and, unless only the
// metadata was asked for, its weights on a device. Shared by engines.
//
// Immutable after open, so thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "base/log.h"
#include "format/model_file.h"
#include "jinja/chat_template.h"
#include "model/architecture.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

struct LoadOptions {
  bool load_weights = true;  // false: header and tokenizer only
  int num_threads = 1;
  std::shared_ptr<Backend> backend;  // nullptr: the CPU with its best instruction set
  // Bytes of weights done and in all; false aborts with CANCELLED. Called on the opening thread.
  std::function<bool(uint64_t done, uint64_t total)> progress;
  Log log;
};

class LoadedModel {
 public:
  // Throws as kvi_model_open says.
  static std::shared_ptr<const LoadedModel> open(const std::string& path,
                                                 const LoadOptions& options);

  const std::string& name() const { return name_; }
  ModelFormat format() const { return format_; }
  const std::string& architecture() const { return architecture_; }
  const std::string& fingerprint() const { return fingerprint_; }  // 64 hex digits
  const Metadata& metadata() const { return *metadata_; }
  uint64_t file_weights_bytes() const { return file_weights_bytes_; }
  uint64_t num_parameters() const { return num_parameters_; }
  uint64_t weights_bytes() const { return weights_bytes_; }  // as the backend arranges them
  // The weights, and the most that is held besides while they load.
  uint64_t load_peak_bytes() const { return load_peak_bytes_; }

  const std::string& unsupported_reason() const { return unsupported_reason_; }  // "": supported
  const ModelConfig& config() const;    // throws UNSUPPORTED with the reason
  const ModelWeights& weights() const;  // throws INVALID_STATE when only metadata was loaded
  Backend& backend() const { return *backend_; }
  const Tokenizer& tokenizer() const;  // throws UNSUPPORTED with the reason
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  const ChatTemplate& chat_template() const;  // throws UNSUPPORTED
  bool has_chat_template() const { return chat_template_ != nullptr; }

 private:
  LoadedModel() = default;
  void load_tokenizer(const ModelFile& file);
  void load_chat_template();

  std::string name_, architecture_, fingerprint_, unsupported_reason_, tokenizer_problem_,
      template_problem_;
  ModelFormat format_ = ModelFormat::gguf;
  std::shared_ptr<const Metadata> metadata_;
  uint64_t file_weights_bytes_ = 0, num_parameters_ = 0, weights_bytes_ = 0, load_peak_bytes_ = 0;
  std::optional<ModelConfig> config_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
};

}  // namespace kvi
