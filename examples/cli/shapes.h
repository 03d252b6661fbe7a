// Models whose public configurations the program knows by name, for plans without a file.
#pragma once

#include <kvinfer/kvinfer.hpp>
#include <string>
#include <vector>

namespace cli {

struct NamedShape {
  const char* name;  // "llama-3-8b"
  kvi_model_shape shape;
};
std::vector<NamedShape> named_shapes();
// Throws Failure with the names that there are.
kvi_model_shape find_shape(const std::string& name);

}  // namespace cli
