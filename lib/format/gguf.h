// GGUF v2 and v3, little endian: metadata and tensors of one file, taken as they are.
//
// Layout: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
#pragma once

#include <memory>

#include "base/file.h"
#include "format/model_file.h"

namespace kvi {

std::unique_ptr<ModelFile> open_gguf(File file);

}  // namespace kvi
