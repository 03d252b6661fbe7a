// Which model a file holds: equal fingerprints mean the same weights, unless somebody forged them.
#pragma once

#include <string>

#include "format/model_file.h"

namespace kvi {

// 64 hex digits: SHA-256 over the metadata, the list of tensors, and the first and last row of each.
// Reads a small part of the file, so it is an identity, not a check of integrity.
std::string model_fingerprint(const ModelFile& file);

}  // namespace kvi
