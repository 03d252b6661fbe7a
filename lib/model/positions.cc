#include "model/positions.h"

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

// Llama 3's scaling: long wavelengths are stretched by factor, short ones kept, and those between
// interpolated (Llama 3.1 model card; the same formula in transformers' modeling_rope_utils).
void scale_llama3(Rope& rope, double factor, double low, double high, double original_len) {
  if (!(factor >= 1) || !(low > 0) || !(high > low) || !(original_len > 0)) {
    throw Error(Status::CORRUPT,
                "rope scaling llama3: factor, low_freq_factor, high_freq_factor or "
                "original_context_length is absurd");
  }
  for (double& frequency : rope.inverse_frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < original_len / high) continue;
    if (wavelength > original_len / low) {
      frequency /= factor;
    } else {
      const double smooth = (original_len / wavelength - low) / (high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

// Per-frequency divisors that converters store for Llama 3 and longrope-like models.
void apply_frequency_factors(Rope& rope, const ModelFile& file) {
  const TensorInfo* tensor = file.find("rope_freqs.weight");
  if (tensor == nullptr) return;
  const size_t count = rope.inverse_frequencies.size();
  if (tensor->dtype != DType::F32 || static_cast<size_t>(tensor->rows * tensor->cols) != count) {
    throw Error(Status::CORRUPT,
                concat("tensor rope_freqs.weight: expected ", count, " F32 values"));
  }
  std::vector<float> factors(count);
  file.read_rows(*tensor, 0, tensor->rows, std::as_writable_bytes(std::span(factors)));
  for (size_t i = 0; i < count; ++i) {
    if (!(factors[i] > 0)) {
      throw Error(Status::CORRUPT,
                  concat("tensor rope_freqs.weight: factor ", i, " is not positive"));
    }
    rope.inverse_frequencies[i] /= factors[i];
  }
}

}  // namespace

Rope plain_rope(RopePairs pairs, int rotary_dim, double base) {
  Rope rope;
  rope.pairs = pairs;
  rope.rotary_dim = rotary_dim;
  for (int i = 0; i < rotary_dim / 2; ++i) {
    rope.inverse_frequencies.push_back(std::pow(base, -2.0 * i / rotary_dim));
  }
  return rope;
}

Rope read_rope(const ModelFile& file, const std::string& architecture, RopePairs pairs,
               int head_dim, double base) {
  const Metadata& metadata = file.metadata();
  const std::string prefix = architecture + ".rope.";
  base = metadata.find_positive(prefix + "freq_base").value_or(base);
  const int64_t rotary_dim = metadata.find_int(prefix + "dimension_count").value_or(head_dim);
  if (rotary_dim <= 0 || rotary_dim > head_dim || rotary_dim % 2 != 0) {
    throw Error(Status::CORRUPT, concat(prefix, "dimension_count is ", rotary_dim,
                                        "; expected an even number up to ", head_dim));
  }
  Rope rope = plain_rope(pairs, static_cast<int>(rotary_dim), base);

  const std::string* type = metadata.find_string(prefix + "scaling.type");
  const double factor = metadata.find_positive(prefix + "scaling.factor").value_or(1);
  if (type == nullptr || *type == "none" || *type == "default") {
  } else if (*type == "linear") {
    for (double& frequency : rope.inverse_frequencies) frequency /= factor;
  } else if (*type == "llama3") {
    scale_llama3(rope, factor, metadata.get_float(prefix + "scaling.low_freq_factor"),
                 metadata.get_float(prefix + "scaling.high_freq_factor"),
                 metadata.get_float(prefix + "scaling.original_context_length"));
  } else {
    throw Error(Status::UNSUPPORTED,
                concat("rope scaling ", quoted(*type),
                       " is not supported; known are none, linear and llama3"));
  }
  apply_frequency_factors(rope, file);
  return rope;
}

}  // namespace kvi
