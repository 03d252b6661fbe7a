// kvinfer inspect: what a model file holds, without loading its weights.
#include <iomanip>
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

Json describe(const kvinfer::Model& model) {
  const kvi_model_info info = model.info();
  Json json = {
      {"name", model.text(KVI_MODEL_NAME)},
      {"architecture", model.text(KVI_MODEL_ARCHITECTURE)},
      {"format", model.text(KVI_MODEL_FORMAT)},
      {"fingerprint", model.text(KVI_MODEL_FINGERPRINT)},
      {"supported", info.supported == 1},
  };
  if (info.supported == 0) {
    json["unsupported_reason"] = model.text(KVI_MODEL_UNSUPPORTED_REASON);
  }
  json.update(Json{
      {"num_parameters", info.num_parameters},
      {"num_layers", info.num_layers},
      {"embedding_len", info.embedding_len},
      {"num_heads", info.num_heads},
      {"num_kv_heads", info.num_kv_heads},
      {"head_dim", info.head_dim},
      {"vocab_size", info.vocab_size},
      {"context_len", info.context_len},
      {"window", info.window},
      {"num_window_layers", info.num_window_layers},
      {"bos_token", info.bos_token},
      {"eos_token", info.eos_token},
      {"has_chat_template", info.has_chat_template == 1},
      {"file_weights_bytes", info.file_weights_bytes},
      {"weights_bytes", info.weights_bytes},
      {"kv_bytes_per_token", info.kv_bytes_per_token},
  });
  return json;
}

Json metadata(const kvinfer::Model& model) {
  Json all = Json::object();
  for (size_t i = 0; i < model.metadata_count(); ++i) {
    const std::string key = model.metadata_key(i);
    all[key] = Json::parse(model.metadata_value(key));
  }
  return all;
}

void print_table(const Json& json) {
  for (const auto& [key, value] : json.items()) {
    std::cout << std::left << std::setw(40) << key << " "
              << (value.is_string() ? value.get<std::string>()
                                    : value.dump(-1, ' ', false, Json::error_handler_t::replace))
              << "\n";
  }
}

struct Inspect {
  ModelArguments model;
  bool all = false;

  void operator()() const {
    const kvinfer::Model opened = model.open_metadata();
    Json json = describe(opened);
    if (model.json) {
      json["metadata"] = metadata(opened);
      print_json(json);
    } else {
      print_table(json);
      if (all) print_table(metadata(opened));
    }
    finish_output();
  }
};

}  // namespace

void add_inspect(CLI::App& app) {
  auto inspect = std::make_shared<Inspect>();
  CLI::App& command = *app.add_subcommand("inspect", "Describe a model file");
  inspect->model.add_to(command);
  command.add_flag("--metadata", inspect->all,
                   "Show all metadata of the file (--json always does)");
  command.callback([inspect] { (*inspect)(); });
}

}  // namespace cli
