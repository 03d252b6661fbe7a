// What a model file that opened must be good for: consistent tensors whose rows can be read and
// decoded, and metadata whose look-ups answer or refuse. For mutation tests and fuzzers.
#pragma once

#include "format/model_file.h"

namespace kvi {

// Throws std::logic_error naming the broken promise.
void exercise_model(const ModelFile& file);

}  // namespace kvi
