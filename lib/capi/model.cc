// Models: opening, describing, metadata.
#include <iterator>
#include <memory>
#include <string>

#include "base/os_cpu.h"
#include "capi/arguments.h"
#include "capi/device.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/json_text.h"
#include "capi/log_sink.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr uint32_t kMaxLoadThreads = 256;

constexpr kvi_model_options kDefaultOptions = {
    .struct_size = sizeof(kvi_model_options),
    .load = KVI_LOAD_WEIGHTS,
    .device = 0,
    .num_threads = KVI_AUTO,
    .progress = nullptr,
    .progress_user = nullptr,
    .log = nullptr,
    .log_user = nullptr,
    .log_destroy = nullptr,
    .backend = KVI_BACKEND_OF_DEVICE,
};

constexpr kvi_model_info kUnknownModel = [] {
  kvi_model_info info = {};
  info.bos_token = info.eos_token = -1;
  return info;
}();

LoadOptions load_options_argument(const kvi_model_options& options) {
  LoadOptions result;
  if (options.load != KVI_LOAD_WEIGHTS && options.load != KVI_LOAD_METADATA) {
    reject_value("load", options.load, "KVI_LOAD_WEIGHTS or KVI_LOAD_METADATA");
  }
  result.load_weights = options.load == KVI_LOAD_WEIGHTS;
  if (options.num_threads == KVI_AUTO) {
    result.num_threads = default_num_threads();
  } else if (options.num_threads == 0 || options.num_threads > kMaxLoadThreads) {
    reject_value("num_threads", options.num_threads, "from 1 to 256, or KVI_AUTO");
  } else {
    result.num_threads = static_cast<int>(options.num_threads);
  }
  // Metadata is the same on every device.
  if (result.load_weights) result.backend = open_backend(options.backend, options.device);
  if (options.progress != nullptr) {
    result.progress = [call = options.progress, user = options.progress_user](uint64_t done,
                                                                              uint64_t total) {
      return called("progress", [&] { return call(user, done, total); }) == KVI_CONTINUE;
    };
  }
  return result;
}

kvi_model_info describe(const LoadedModel& model) {
  kvi_model_info info = kUnknownModel;
  info.supported = model.unsupported_reason().empty();
  info.num_parameters = model.num_parameters();
  info.file_weights_bytes = model.file_weights_bytes();
  info.weights_bytes = model.weights_bytes();
  info.has_chat_template = model.has_chat_template();
  if (model.has_tokenizer()) {
    const TokenizerSpec& spec = model.tokenizer().spec();
    info.vocab_size = static_cast<uint32_t>(model.tokenizer().vocab_size());
    info.bos_token = spec.bos.value_or(-1);
    info.eos_token = spec.eos.value_or(-1);
  }
  if (info.supported) {
    const ModelConfig& config = model.config();
    info.num_layers = static_cast<uint32_t>(config.num_layers);
    info.embedding_len = static_cast<uint32_t>(config.embedding_len);
    info.num_heads = static_cast<uint32_t>(config.num_heads);
    info.num_kv_heads = static_cast<uint32_t>(config.num_kv_heads);
    info.head_dim = static_cast<uint32_t>(config.head_dim);
    info.vocab_size = static_cast<uint32_t>(config.vocab_size);
    info.context_len = static_cast<uint32_t>(config.context_len);
    info.window = static_cast<uint32_t>(config.window);
    info.num_window_layers = static_cast<uint32_t>(config.num_window_layers());
    info.kv_bytes_per_token = config.kv_bytes_per_token();
  }
  return info;
}

std::string text_of(const LoadedModel& model, int32_t which) {
  switch (which) {
    case KVI_MODEL_ARCHITECTURE: return model.architecture();
    case KVI_MODEL_NAME: return model.name();
    case KVI_MODEL_FORMAT: return model.format() == ModelFormat::gguf ? "gguf" : "safetensors";
    case KVI_MODEL_FINGERPRINT: return model.fingerprint();
    case KVI_MODEL_UNSUPPORTED_REASON: return model.unsupported_reason();
    case KVI_MODEL_CHAT_TEMPLATE:
      return model.has_chat_template() ? model.chat_template().source() : "";
    default: reject_value("which", which, "one of KVI_MODEL_*");
  }
}

}  // namespace

extern "C" {

kvi_status kvi_model_options_init(kvi_model_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_model_info_init(kvi_model_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kUnknownModel); });
}

kvi_status kvi_model_open(const char* path, size_t path_size, const kvi_model_options* options,
                          kvi_model** out, kvi_error** error) {
  return guarded(error, [&] {
    kvi_model_options known = kDefaultOptions;
    if (options != nullptr) known = read_known(options, kDefaultOptions, "options");
    Log log = make_log(known.log, known.log_user, known.log_destroy);
    if (options != nullptr) check_tail(options, known, "options");
    LoadOptions load = load_options_argument(known);
    load.log = std::move(log);
    require(out, "out");
    auto handle = std::make_unique<kvi_model>();
    handle->model = LoadedModel::open(name_argument(path, path_size, "path"), load);
    *out = handle.release();
  });
}

void kvi_model_release(kvi_model* model) {
  unless_forked([&] { delete model; });
}

kvi_status kvi_model_get_info(const kvi_model* model, kvi_model_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    require_result(info, "info");
    write_struct(info, describe(*model->model));
  });
}

kvi_status kvi_model_text(const kvi_model* model, int32_t which, char* buffer, size_t capacity,
                          size_t* needed, kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    write_text(text_of(*model->model, which), buffer, capacity, needed);
  });
}

size_t kvi_model_metadata_count(const kvi_model* model) {
  return model == nullptr ? 0 : model->model->metadata().all().size();
}

kvi_status kvi_model_metadata_key(const kvi_model* model, size_t index, char* buffer,
                                  size_t capacity, size_t* needed, kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    const auto& all = model->model->metadata().all();
    if (index >= all.size()) {
      throw Error(Status::NOT_FOUND,
                  concat("there is no key ", index, "; the model has ", all.size()));
    }
    write_text(std::next(all.begin(), static_cast<ptrdiff_t>(index))->first, buffer, capacity,
               needed);
  });
}

kvi_status kvi_model_metadata_value(const kvi_model* model, const char* key, size_t key_size,
                                    char* buffer, size_t capacity, size_t* needed,
                                    kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    const auto& all = model->model->metadata().all();
    auto found = all.find(name_argument(key, key_size, "key"));
    if (found == all.end()) {
      throw Error(Status::NOT_FOUND,
                  concat("the model has no key ", quoted(text_argument(key, key_size, "key"))));
    }
    write_text(to_json(found->second), buffer, capacity, needed);
  });
}

}  // extern "C"
