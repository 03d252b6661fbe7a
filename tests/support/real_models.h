// Where tests find the two real models that tests/fetch_models.sh fetches.
#pragma once

#include <cstdlib>
#include <string>

namespace kvi {

inline std::string real_model_path(const char* file_name) {
  const char* cache = std::getenv("KVINFER_CACHE");
  const char* home = std::getenv("HOME");
  const std::string folder = cache ? cache : std::string(home ? home : "") + "/.cache/kvinfer";
  return folder + "/" + file_name;
}

inline constexpr const char* kSmolLm2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
inline constexpr const char* kGemma3 = "gemma-3-270m-q4_k_m.gguf";

}  // namespace kvi
