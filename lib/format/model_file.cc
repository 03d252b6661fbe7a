#include "format/model_file.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "format/gguf.h"

namespace kvi {
namespace {

constexpr size_t kMagicBytes = 4;

std::string read_magic(const File& file) {
  if (file.size() < kMagicBytes) {
    throw Error(Status::CORRUPT, concat(quoted(file.path(), 400), " has ", file.size(),
                                        " bytes, too few for a model; download it again"));
  }
  std::string magic(kMagicBytes, '\0');
  file.read_exact(0, std::as_writable_bytes(std::span(magic)));
  return magic;
}

}  // namespace

ModelFile::~ModelFile() = default;

const TensorInfo* ModelFile::find(std::string_view name) const {
  for (const TensorInfo& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::unique_ptr<ModelFile> ModelFile::open(const std::string& path) {
  File file(path);
  const std::string magic = read_magic(file);
  if (magic == "GGUF") return open_gguf(std::move(file));
  throw Error(Status::CORRUPT, concat(quoted(path, 400), " starts with ", quoted(magic),
                                      "; it is neither GGUF nor safetensors"));
}

}  // namespace kvi
