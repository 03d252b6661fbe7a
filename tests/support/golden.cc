#include "support/golden.h"

#include <cmath>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr uint64_t kMaxFileBytes = 64 << 20;
constexpr uint32_t kMaxCount = 1 << 20;

class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), bytes_(File::read_all(path, kMaxFileBytes)) {}

  void expect_magic(std::string_view magic) {
    if (take(magic.size()) != magic) fail("has another magic number");
  }

  uint32_t read_count(const char* what, uint32_t min, uint32_t max) {
    const uint32_t count = read<uint32_t>(1)[0];
    if (count < min || count > max) fail(concat("has ", count, " ", what));
    return count;
  }

  template <typename T>
  std::vector<T> read(size_t count) {
    const std::string_view raw = take(count * sizeof(T));
    std::vector<T> values(count);
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }

  std::string read_text(size_t size) { return std::string(take(size)); }

  std::vector<int32_t> read_ids(size_t count, int limit) {
    std::vector<int32_t> ids = read<int32_t>(count);
    for (int32_t id : ids) {
      if (id < 0 || id >= limit) fail(concat("holds ", id, ", which is not in [0, ", limit, ")"));
    }
    return ids;
  }

  std::vector<float> read_finite(size_t count) {
    std::vector<float> values = read<float>(count);
    for (float value : values) {
      if (!std::isfinite(value)) fail("holds a number that is not finite");
    }
    return values;
  }

  void expect_end() {
    if (pos_ != bytes_.size()) fail(concat("goes on after byte ", pos_));
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(Status::CORRUPT, concat(quoted(path_, 400), " ", why, " (before byte ", pos_, ")"));
  }

 private:
  std::string_view take(size_t size) {
    if (size > bytes_.size() - pos_) fail(concat("ends where ", size, " more bytes should be"));
    pos_ += size;
    return std::string_view(bytes_).substr(pos_ - size, size);
  }

  const std::string path_;
  const std::string bytes_;
  size_t pos_ = 0;
};

GoldenDistribution read_distribution(Reader& in, uint32_t top_k, int vocab_size) {
  GoldenDistribution result;
  result.ids = in.read_ids(top_k, vocab_size);
  result.logprobs = in.read_finite(top_k);
  result.rest = in.read_finite(1)[0];
  double mass = result.rest;
  for (uint32_t i = 0; i < top_k; ++i) {
    if (i > 0 && result.logprobs[i] > result.logprobs[i - 1]) in.fail("is not sorted");
    mass += std::exp(static_cast<double>(result.logprobs[i]));
  }
  if (result.rest < 0 || std::abs(mass - 1) > 1e-4) {
    in.fail("has probabilities that do not add up to 1");
  }
  return result;
}

}  // namespace

std::vector<int32_t> ForwardGolden::all_tokens() const {
  std::vector<int32_t> tokens = prompt;
  tokens.insert(tokens.end(), continuation.begin(), continuation.end());
  return tokens;
}

ForwardGoldens read_forward_goldens(const std::string& path) {
  Reader in(path);
  in.expect_magic({"KVIFWD1\0", 8});
  const uint32_t num_prompts = in.read_count("prompts", 1, kMaxCount);
  const uint32_t num_positions = in.read_count("positions", 1, kMaxCount);
  const uint32_t top_k = in.read_count("values of a position", 2, kMaxCount);
  ForwardGoldens result;
  result.vocab_size = static_cast<int>(in.read_count("tokens in the vocabulary", 2, kMaxCount));
  const std::vector<uint8_t> sha256 = in.read<uint8_t>(result.model_sha256.size());
  std::copy(sha256.begin(), sha256.end(), result.model_sha256.begin());
  for (uint32_t p = 0; p < num_prompts; ++p) {
    ForwardGolden golden;
    golden.name = in.read_text(in.read_count("bytes in a name", 1, 100));
    golden.prompt = in.read_ids(in.read_count("prompt tokens", 1, kMaxCount), result.vocab_size);
    golden.continuation = in.read_ids(num_positions, result.vocab_size);
    for (uint32_t i = 0; i < num_positions; ++i) {
      golden.distributions.push_back(read_distribution(in, top_k, result.vocab_size));
    }
    result.prompts.push_back(std::move(golden));
  }
  in.expect_end();
  return result;
}

TinyGoldens read_tiny_goldens(const std::string& path) {
  Reader in(path);
  in.expect_magic({"KVITNY1\0", 8});
  TinyGoldens result;
  result.vocab_size = static_cast<int>(in.read_count("tokens in the vocabulary", 2, kMaxCount));
  const uint32_t num_prompts = in.read_count("prompts", 1, kMaxCount);
  for (uint32_t p = 0; p < num_prompts; ++p) {
    TinyGolden golden;
    const uint32_t prompt_len = in.read_count("prompt tokens", 1, kMaxCount);
    golden.prompt = in.read_ids(prompt_len, result.vocab_size);
    golden.positions = in.read_ids(in.read_count("positions", 1, prompt_len), prompt_len);
    for (size_t i = 0; i < golden.positions.size(); ++i) {
      if (i > 0 && golden.positions[i] <= golden.positions[i - 1]) in.fail("is not sorted");
      golden.logits.push_back(in.read_finite(result.vocab_size));
    }
    result.prompts.push_back(std::move(golden));
  }
  in.expect_end();
  return result;
}

}  // namespace kvi
