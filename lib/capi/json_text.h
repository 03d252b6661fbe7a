// Metadata values of model files as JSON text.
#pragma once

#include <string>
#include <string_view>

#include "format/model_file.h"

namespace kvi::capi {

// Arrays longer than 8 are cut to their first 8 elements and a string that says how many follow.
// Bytes that are not UTF-8 become U+FFFD; numbers that JSON lacks become null.
std::string to_json(const MetadataValue& value);

}  // namespace kvi::capi
