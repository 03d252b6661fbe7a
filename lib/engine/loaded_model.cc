#include "engine/loaded_model.h"

#include "backend/cpu/cpu_backend.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/fingerprint.h"
#include "engine/tokenizer_loader.h"

namespace kvi {
namespace {

// The template that a family's instruction models were trained with, where the file has none.
const char* template_of_family(const std::string& architecture, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return nullptr;
  if (architecture == "gemma3" && tokenizer->find_token("<start_of_turn>"))
    return default_chat_template("gemma");
  if (tokenizer->find_token("<|im_start|>")) return default_chat_template("chatml");
  if (tokenizer->find_token("<|start_header_id|>")) return default_chat_template("llama3");
  return nullptr;
}

// The same error with the model's path in front, unless it names a file of the model already.
Error naming(const std::string& path, const Error& error) {
  std::string start = quoted(path, 400);
  start.pop_back();  // the end of the quote: a folder's files follow
  if (error.message().find(start) != std::string::npos) return error;
  Error named(error.status(), concat(start, "': ", error.message()));
  if (error.is_retryable()) named.retryable();
  return named.amounts(error.needed(), error.available());
}

bool is_about_the_file(const Error& error) {
  return error.status() == Status::CORRUPT || error.status() == Status::UNSUPPORTED;
}

}  // namespace

std::shared_ptr<const LoadedModel> LoadedModel::open(const std::string& path,
                                                     const LoadOptions& options) {
  const std::unique_ptr<ModelFile> file = ModelFile::open(path);
  try {
    std::shared_ptr<LoadedModel> model(new LoadedModel);
    model->metadata_ = file->shared_metadata();
    model->format_ = file->format();
    model->architecture_ = model->metadata_->get_string("general.architecture");
    if (const std::string* name = model->metadata_->find_string("general.name"))
      model->name_ = *name;
    model->file_weights_bytes_ = file->size_bytes();
    for (const TensorInfo& tensor : file->tensors()) {
      model->num_parameters_ += static_cast<uint64_t>(tensor.rows) *
                                static_cast<uint64_t>(tensor.cols);
    }
    model->backend_ = options.backend ? options.backend : cpu::make_cpu_backend(cpu::best_isa());
    try {
      model->config_ = read_model_config(*file);
      const WeightsSize size = ModelWeights::measure(*file, *model->config_, *model->backend_,
                                                     options.num_threads);
      model->weights_bytes_ = size.weights_bytes;
      model->load_peak_bytes_ = size.load_peak_bytes;
    } catch (const Error& error) {
      // What cannot run can still be looked at; what is damaged is damaged for everybody.
      if (options.load_weights || error.status() != Status::UNSUPPORTED) throw;
      model->config_.reset();
      model->unsupported_reason_ = naming(path, error).message();
    }
    model->fingerprint_ = model_fingerprint(*file);
    model->load_tokenizer(*file);
    model->load_chat_template();
    if (options.load_weights) {
      model->weights_ = ModelWeights::load(*file, *model->config_, *model->backend_,
                                           options.num_threads, options.progress);
      log_message(
          options.log, LogLevel::info,
          concat("loaded ", quoted(path, 400), ": ", model->architecture_, ", ",
                 model->num_parameters_, " parameters, ", format_bytes(model->weights_bytes_)));
    }
    return model;
  } catch (const Error& error) {
    if (!is_about_the_file(error)) throw;
    throw naming(path, error);
  }
}

// A model without a usable tokenizer still takes and gives token ids.
void LoadedModel::load_tokenizer(const ModelFile& file) {
  try {
    const TensorInfo* embedding = file.find("token_embd.weight");
    tokenizer_ = kvi::load_tokenizer(file, embedding != nullptr ? embedding->rows : INT32_MAX);
  } catch (const Error& error) {
    if (error.status() != Status::UNSUPPORTED) throw;
    tokenizer_problem_ = naming(file.path(), error).message();
  }
}

void LoadedModel::load_chat_template() {
  const std::string* source = metadata_->find_string("tokenizer.chat_template");
  const char* of_family = template_of_family(architecture_, tokenizer_.get());
  if (source == nullptr && of_family == nullptr) {
    template_problem_ =
        "the model has no chat template; give the prompt as plain text (kvi_session_append), or "
        "use a model file that has one";
    return;
  }
  try {
    chat_template_ = std::make_unique<ChatTemplate>(source != nullptr ? *source
                                                                      : std::string(of_family));
  } catch (const Error& error) {
    template_problem_ = error.message();
  }
}

const ModelConfig& LoadedModel::config() const {
  if (!config_) throw Error(Status::UNSUPPORTED, unsupported_reason_);
  return *config_;
}

const ModelWeights& LoadedModel::weights() const {
  if (!weights_) {
    throw Error(Status::INVALID_STATE,
                "the model was opened without its weights (KVI_LOAD_METADATA)");
  }
  return *weights_;
}

const Tokenizer& LoadedModel::tokenizer() const {
  if (!tokenizer_) throw Error(Status::UNSUPPORTED, tokenizer_problem_);
  return *tokenizer_;
}

const ChatTemplate& LoadedModel::chat_template() const {
  if (!chat_template_) throw Error(Status::UNSUPPORTED, template_problem_);
  return *chat_template_;
}

}  // namespace kvi
