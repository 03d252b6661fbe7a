// A Hugging Face model as safetensors: one file, or shards that an index names, with config.json and
// its companions in the same folder. Hyperparameters and tensors appear under their GGUF names.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "format/model_file.h"

namespace kvi {

// path: what the user named, a folder or the file itself.
std::unique_ptr<ModelFile> open_safetensors(const std::string& path, File file);
std::unique_ptr<ModelFile> open_safetensors_index(const std::string& path,
                                                  const std::string& index);

}  // namespace kvi
