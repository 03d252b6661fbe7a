// Rotary position frequencies from a model's hyperparameters.
#pragma once

#include <string>

#include "backend/layer.h"
#include "format/model_file.h"

namespace kvi {

// The rotation that the file's rope keys describe: base, dimension count, linear or Llama-3 scaling, and
// the per-frequency factors of a rope_freqs tensor. base: used where the file names none.
// Throws UNSUPPORTED naming a scaling that is not known, CORRUPT for absurd values.
Rope read_rope(const ModelFile& file, const std::string& architecture, RopePairs pairs,
               int head_dim, double base);

// Unscaled frequencies: base^(-2i / rotary_dim).
Rope plain_rope(RopePairs pairs, int rotary_dim, double base);

}  // namespace kvi
