// Loading streams: what a process holds while it loads a model is the final weights and, for each loading
// thread, at most one tensor; and the plan made from the header alone says so beforehand.
//
// Measured is the process's peak of resident memory as the kernel keeps it (VmHWM), which counts heap,
// mappings and the file's pages, had it been mapped.
#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/loaded_model.h"
#include "engine/plan.h"
#include "support/gguf_writer.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

constexpr uint32_t kLen = 1024;  // of the embedding, the heads together and the feed-forward layer
constexpr int kNumLayers = 10;
constexpr int kNumTensors = kNumLayers * 7;  // equal ones, of kLen * kLen
constexpr uint64_t kMiB = uint64_t{1} << 20;

// Header by the writer, then the data, a tensor at a time, so that the test itself holds little.
class BigModelFile {
 public:
  BigModelFile(DType dtype, uint64_t seed) : tensor_bytes_(row_bytes(dtype, kLen) * kLen) {
    GgufWriter writer;
    writer.add_string("general.architecture", "llama")
        .add_u32("llama.context_length", 256)
        .add_u32("llama.embedding_length", kLen)
        .add_u32("llama.block_count", kNumLayers)
        .add_u32("llama.feed_forward_length", kLen)
        .add_u32("llama.attention.head_count", 8)
        .add_u32("llama.rope.dimension_count", kLen / 8)
        .add_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add(writer, "token_embd.weight", DType::F16, {kLen, 64});
    add(writer, "output_norm.weight", DType::F32, {kLen});
    for (int layer = 0; layer < kNumLayers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      for (const char* name : {"attn_norm", "ffn_norm"}) {
        add(writer, prefix + name + ".weight", DType::F32, {kLen});
      }
      for (const char* name :
           {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
        add(writer, prefix + name + ".weight", dtype, {kLen, kLen});
      }
    }
    std::ofstream out(path(), std::ios::binary);
    const std::string header = writer.bytes();
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    std::mt19937_64 random(seed);
    std::string data;
    for (const uint64_t size : sizes_) {
      data.resize(size);
      for (char& byte : data) byte = static_cast<char>(random() & 0x3f);  // no halves that are NaN
      out.write(data.data(), static_cast<std::streamsize>(size));
    }
    if (!out.flush()) throw std::runtime_error("cannot write " + path());
  }

  std::string path() const { return folder_.path("big.gguf"); }
  uint64_t tensor_bytes() const { return tensor_bytes_; }

 private:
  void add(GgufWriter& writer, const std::string& name, DType dtype, std::vector<uint64_t> dims) {
    const uint64_t rows = dims.size() == 2 ? dims[1] : 1;
    sizes_.push_back(row_bytes(dtype, kLen) * rows);
    writer.add({name, std::move(dims), static_cast<uint32_t>(dtype), "", offset_, {}});
    offset_ += sizes_.back();
  }

  const uint64_t tensor_bytes_;
  uint64_t offset_ = 0;
  std::vector<uint64_t> sizes_;  // multiples of the alignment
  TempFolder folder_;
};

uint64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good() && status_bytes("VmHWM") > 0;
}

class LoadMemoryTest : public testing::TestWithParam<std::tuple<DType, int>> {};

TEST_P(LoadMemoryTest, PeakIsTheWeightsAndATensorForEachThreadAsPlanned) {
  const auto [dtype, num_threads] = GetParam();
  const BigModelFile file(dtype, test_seed());
  LoadOptions options;
  options.num_threads = num_threads;
  options.load_weights = false;
  const Plan plan = plan_model(*LoadedModel::open(file.path(), options), {});

  options.load_weights = true;
  malloc_trim(0);
  if (!reset_peak()) GTEST_SKIP() << "this kernel keeps no resettable peak of resident memory";
  const uint64_t before = status_bytes("VmRSS");
  const std::shared_ptr<const LoadedModel> model = LoadedModel::open(file.path(), options);
  malloc_trim(0);  // what malloc only keeps for later is not part of the final size
  const uint64_t after = status_bytes("VmRSS") - before;
  const uint64_t peak = status_bytes("VmHWM") - before;
  std::printf("%.1f MiB planned at the peak; %.1f MiB at the peak, %.1f MiB after\n",
              plan.load_peak_bytes / double(kMiB), peak / double(kMiB), after / double(kMiB));

  ASSERT_GE(plan.weights_bytes, kNumTensors * file.tensor_bytes());
  EXPECT_GE(after + kMiB, plan.weights_bytes);  // they are in memory, and measured
  // Thread stacks, metadata, and the kernel's own coarse counting.
  EXPECT_LE(peak, after + num_threads * file.tensor_bytes() + kMiB);
  // Besides, the last huge page of the weights is larger than what is used of it.
  EXPECT_LE(peak, plan.load_peak_bytes + 2 * kMiB + kMiB);
  EXPECT_LE(plan.load_peak_bytes, plan.weights_bytes + num_threads * file.tensor_bytes());
}

INSTANTIATE_TEST_SUITE_P(Types, LoadMemoryTest,
                         testing::Combine(testing::Values(DType::F16, DType::Q8_0),
                                          testing::Values(1, 2)));

}  // namespace
}  // namespace kvi
