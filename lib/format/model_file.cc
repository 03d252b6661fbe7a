#include "format/model_file.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "format/gguf.h"
#include "format/safetensors.h"

namespace kvi {
namespace {

constexpr size_t kMagicBytes = 8;
constexpr size_t kMaxFolderEntries = 100'000;

std::string read_magic(const File& file) {
  if (file.size() < kMagicBytes) {
    throw Error(Status::CORRUPT, concat(kvi::quoted(file.path(), 400), " has ", file.size(),
                                        " bytes, too few for a model; download it again"));
  }
  std::string magic(kMagicBytes, '\0');
  file.read_exact(0, std::as_writable_bytes(std::span(magic)));
  return magic;
}

[[noreturn]] void throw_pytorch(const std::string& path) {
  throw Error(Status::UNSUPPORTED,
              concat(kvi::quoted(path, 400),
                     " is a PyTorch checkpoint, which can run code when it is read; ",
                     "convert it to safetensors (transformers: model.save_pretrained)"));
}

// path: what the user named; file_path: the file itself, where path is a folder.
std::unique_ptr<ModelFile> open_file(const std::string& path, const std::string& file_path) {
  if (file_path.ends_with(".safetensors.index.json"))
    return open_safetensors_index(path, file_path);
  File file(file_path);
  const std::string magic = read_magic(file);
  if (magic.starts_with("GGUF")) return open_gguf(std::move(file));
  if (file_path.ends_with(".safetensors")) return open_safetensors(path, std::move(file));
  if (magic.starts_with("PK\x03\x04") || magic.starts_with("\x80\x02")) throw_pytorch(file_path);
  for (const char* old : {"lmgg", "fmgg", "tjgg", "algg"}) {  // llama.cpp before GGUF
    if (magic.starts_with(old)) {
      throw Error(Status::UNSUPPORTED, concat(kvi::quoted(file_path, 400),
                                              " is in a format older than GGUF; convert it again"));
    }
  }
  throw Error(Status::CORRUPT,
              concat(kvi::quoted(file_path, 400), " starts with ", kvi::quoted(magic),
                     "; it is neither a GGUF nor a .safetensors file"));
}

// The one model of a folder: safetensors with an index, safetensors, then GGUF.
std::string find_model(const std::string& folder) {
  struct Kind {
    std::string_view suffix;
    std::string_view preferred;  // wins over others of its kind
    std::vector<std::string> files = {};
  };
  Kind kinds[] = {{".safetensors.index.json", "model.safetensors.index.json"},
                  {".safetensors", "model.safetensors"},
                  {".gguf", ""}};
  std::string checkpoint;
  std::error_code code;
  size_t num_entries = 0;
  for (auto it = std::filesystem::directory_iterator(folder, code);
       !code && it != std::filesystem::directory_iterator() && ++num_entries < kMaxFolderEntries;
       it.increment(code)) {
    const std::string name = it->path().filename().string();
    for (Kind& kind : kinds) {
      if (name.ends_with(kind.suffix)) kind.files.push_back(name);
    }
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"))
      checkpoint = name;
  }
  if (code) {
    throw Error(Status::IO,
                concat("cannot list the folder ", kvi::quoted(folder, 400), ": ", code.message()));
  }
  for (Kind& kind : kinds) {
    std::sort(kind.files.begin(), kind.files.end());
    if (std::find(kind.files.begin(), kind.files.end(), kind.preferred) != kind.files.end()) {
      return concat(folder, "/", kind.preferred);
    }
    if (kind.files.size() == 1) return concat(folder, "/", kind.files[0]);
    if (kind.files.size() > 1) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat("the folder ", kvi::quoted(folder, 400), " holds ", kind.files.size(),
                         " model files, such as ", kvi::quoted(kind.files[0]), " and ",
                         kvi::quoted(kind.files[1]), "; name the one to open"));
    }
  }
  if (!checkpoint.empty()) throw_pytorch(folder + "/" + checkpoint);
  throw Error(Status::NOT_FOUND, concat("the folder ", kvi::quoted(folder, 400),
                                        " holds no .safetensors and no .gguf file"));
}

}  // namespace

ModelFile::~ModelFile() = default;

const TensorInfo* ModelFile::find(std::string_view name) const {
  for (const TensorInfo& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

const TensorInfo& ModelFile::get(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor != nullptr) return *tensor;
  const bool may_be_a_part = path().ends_with(".safetensors");
  throw Error(Status::CORRUPT,
              concat("tensor ", name, " is missing",
                     may_be_a_part ? "; of a model in several files, open their folder" : ""));
}

std::unique_ptr<ModelFile> ModelFile::open(const std::string& path) {
  return open_file(path, is_directory(path) ? find_model(path) : path);
}

}  // namespace kvi
