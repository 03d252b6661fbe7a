#include "format/safetensors.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "format/hf_config.h"
#include "format/hf_tensor_names.h"
#include "format/json_file.h"
#include "format/safetensors_header.h"

namespace kvi {
namespace {

constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr uint64_t kMaxTokenizerBytes = 256 << 20;  // Gemma's has 33 MB

std::string folder_of(const std::string& file) {
  const std::string parent = std::filesystem::path(file).parent_path().string();
  return parent.empty() ? "." : parent;
}

DType dtype_of(const SafetensorsEntry& entry, const File& file) {
  for (DType dtype : {DType::F32, DType::F16, DType::BF16}) {
    if (entry.dtype == dtype_name(dtype)) return dtype;
  }
  throw Error(Status::UNSUPPORTED,
              concat(kvi::quoted(file.path(), 400), ": tensor ", kvi::quoted(entry.name), " is ",
                     entry.dtype, "; supported are F32, F16 and BF16"));
}

class SafetensorsModel final : public ModelFile {
 public:
  SafetensorsModel(const std::string& path, const std::string& folder)
      : path_(path),
        folder_(folder),
        metadata_(std::make_shared<const Metadata>(read_hf_config(folder))) {
    architecture_ = metadata_->get_string("general.architecture");
    num_layers_ = metadata_->get_int(architecture_ + ".block_count");
    is_tied_ = metadata_->find_bool("kvinfer.tie_word_embeddings").value_or(false);
  }

  // The names of the tensors that the file holds, as it names them.
  std::vector<std::string> add_shard(File file) {
    std::vector<std::string> names;
    for (const SafetensorsEntry& entry : read_safetensors_header(file)) {
      add_tensor(entry, file);
      names.push_back(entry.name);
    }
    shards_.push_back(std::move(file));
    return names;
  }

  void finish() const {
    if (tensors_.empty()) {
      throw Error(Status::CORRUPT,
                  concat(kvi::quoted(path_, 400), " holds no tensor of a language model"));
    }
    if (!is_tied_ && find("output.weight") == nullptr) {
      throw Error(Status::CORRUPT,
                  concat(kvi::quoted(path_, 400), " has no tensor 'lm_head.weight', but ",
                         "config.json does not tie it to the embedding; of a model in several ",
                         "files, open their folder"));
    }
    check_vocabulary();
    check_biases();
  }

  ModelFormat format() const override { return ModelFormat::safetensors; }
  const std::string& path() const override { return path_; }
  const std::shared_ptr<const Metadata>& shared_metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  uint64_t size_bytes() const override { return size_bytes_; }

  std::string tokenizer_json() const override {
    const std::string file = folder_ + "/tokenizer.json";
    return file_exists(file) ? File::read_all(file, kMaxTokenizerBytes) : "";
  }

  void read_rows(const TensorInfo& tensor, int64_t first_row, int64_t num_rows,
                 std::span<std::byte> dst) const override {
    const uint64_t row = row_bytes(tensor.dtype, tensor.cols);
    KVI_CHECK(first_row >= 0 && num_rows >= 0 && num_rows <= tensor.rows - first_row);
    KVI_CHECK(dst.size() == static_cast<uint64_t>(num_rows) * row);
    auto source = sources_.find(tensor.name);
    KVI_CHECK(source != sources_.end());
    if (source->second.arrangement == HfArrangement::transposed) {
      read_transposed(tensor, source->second, first_row, num_rows, dst.data());
    } else {
      shards_[source->second.shard].read_exact(
          source->second.offset + static_cast<uint64_t>(first_row) * row, dst);
    }
  }

 private:
  void check_vocabulary() const {
    const int64_t vocab_size = metadata_->get_int(architecture_ + ".vocab_size");
    const TensorInfo* embedding = find("token_embd.weight");
    if (embedding == nullptr || embedding->rows == vocab_size) return;
    throw Error(Status::CORRUPT,
                concat(kvi::quoted(path_, 400), ": key 'vocab_size' of config.json is ", vocab_size,
                       ", but the embedding has ", embedding->rows, " rows"));
  }

  void check_biases() const {
    const auto* biased = metadata_->find_strings("kvinfer.biased_projections");
    if (biased == nullptr) return;
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      for (const std::string& projection : *biased) {
        const std::string name = concat("model.layers.", layer, ".", projection, ".bias");
        if (sources_.contains(translate_tensor_name(architecture_, name)->gguf_name)) continue;
        throw Error(Status::CORRUPT,
                    concat(kvi::quoted(path_, 400), " has no tensor ", kvi::quoted(name), ", but ",
                           projection.starts_with("mlp") ? "mlp_bias" : "attention_bias",
                           " in config.json is true"));
      }
    }
  }

  struct Source {
    size_t shard;
    uint64_t offset;  // from the start of the shard
    HfArrangement arrangement;
  };

  void add_tensor(const SafetensorsEntry& entry, const File& file) {
    std::optional<HfTensorName> name = translate_tensor_name(architecture_, entry.name);
    if (!name) return;
    if (name->layer >= num_layers_) {
      fail(entry, file,
           concat("lies beyond the ", num_layers_, " layers that config.json says (",
                  architecture_ == "gpt2" ? "n_layer" : "num_hidden_layers", ")"));
    }
    // Some checkpoints store a tied output matrix all the same.
    if (is_tied_ && name->gguf_name == "output.weight") return;
    TensorInfo tensor;
    tensor.name = std::move(name->gguf_name);
    tensor.dtype = dtype_of(entry, file);
    tensor.cols = entry.shape.empty() ? 1 : entry.shape.back();
    tensor.size_bytes = entry.end - entry.begin;
    if (tensor.size_bytes == 0) fail(entry, file, "is empty");
    tensor.rows = static_cast<int64_t>(tensor.size_bytes / row_bytes(tensor.dtype, tensor.cols));
    if (name->arrangement == HfArrangement::transposed) {
      if (entry.shape.size() != 2) fail(entry, file, "must have two dimensions");
      std::swap(tensor.rows, tensor.cols);
    }
    const Source source{shards_.size(), entry.begin, name->arrangement};
    if (!sources_.emplace(tensor.name, source).second) {
      fail(entry, file, concat("appears twice, as ", kvi::quoted(tensor.name)));
    }
    size_bytes_ += tensor.size_bytes;
    tensors_.push_back(std::move(tensor));
  }

  // Row r of the tensor is column r of the matrix as stored: one read for each stored row.
  void read_transposed(const TensorInfo& tensor, const Source& source, int64_t first_row,
                       int64_t num_rows, std::byte* dst) const {
    const uint64_t element = row_bytes(tensor.dtype, 1);
    std::vector<std::byte> piece(static_cast<uint64_t>(num_rows) * element);
    for (int64_t col = 0; col < tensor.cols; ++col) {
      const uint64_t index = static_cast<uint64_t>(col * tensor.rows + first_row);
      shards_[source.shard].read_exact(source.offset + index * element, piece);
      for (int64_t row = 0; row < num_rows; ++row) {
        std::memcpy(dst + static_cast<uint64_t>(row * tensor.cols + col) * element,
                    piece.data() + static_cast<uint64_t>(row) * element, element);
      }
    }
  }

  [[noreturn]] static void fail(const SafetensorsEntry& entry, const File& file,
                                const std::string& text) {
    throw Error(Status::CORRUPT, concat(kvi::quoted(file.path(), 400), ": tensor ",
                                        kvi::quoted(entry.name), " ", text));
  }

  std::string path_;
  std::string folder_;
  std::shared_ptr<const Metadata> metadata_;
  std::string architecture_;
  int64_t num_layers_ = 0;
  bool is_tied_ = false;
  std::vector<File> shards_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, Source> sources_;  // by tensor name
  uint64_t size_bytes_ = 0;
};

// Tensor name to shard, as the index says. Shards must lie beside it: an index that names another
// folder would make the library read files that nobody offered.
std::map<std::string, std::string> read_weight_map(const std::string& index) {
  const JsonObject object = JsonObject::read(index, kMaxIndexBytes);
  const std::optional<JsonObject> weights = object.find_object("weight_map");
  if (!weights || weights->value().empty()) {
    object.fail(Status::CORRUPT, "weight_map", "is missing or empty");
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : weights->value().items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      weights->fail(Status::CORRUPT, kvi::quoted(name),
                    concat("names ", kvi::quoted(file), ", which is no file beside the index"));
    }
    shard_of.emplace(name, file);
  }
  return shard_of;
}

}  // namespace

std::unique_ptr<ModelFile> open_safetensors(const std::string& path, File file) {
  auto model = std::make_unique<SafetensorsModel>(path, folder_of(file.path()));
  model->add_shard(std::move(file));
  model->finish();
  return model;
}

std::unique_ptr<ModelFile> open_safetensors_index(const std::string& path,
                                                  const std::string& index) {
  std::map<std::string, std::string> shard_of = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  const std::string folder = folder_of(index);
  auto model = std::make_unique<SafetensorsModel>(path, folder);
  for (const std::string& shard : shards) {
    for (const std::string& name : model->add_shard(File(folder + "/" + shard))) {
      auto it = shard_of.find(name);
      if (it == shard_of.end() || it->second != shard) {
        throw Error(Status::CORRUPT,
                    concat(kvi::quoted(index, 400), " contradicts shard ", kvi::quoted(shard),
                           " about tensor ", kvi::quoted(name)));
      }
      shard_of.erase(it);
    }
  }
  if (!shard_of.empty()) {
    const auto& [name, shard] = *shard_of.begin();
    throw Error(Status::CORRUPT,
                concat(kvi::quoted(index, 400), " names tensor ", kvi::quoted(name),
                       ", which shard ", kvi::quoted(shard), " does not hold"));
  }
  model->finish();
  return model;
}

}  // namespace kvi
