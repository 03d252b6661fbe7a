// Measures the CUDA backend: the ceilings of this GPU, then steps of random models in the shapes of docs/performance.md,
// each beside its floor.
//
//   cuda_bench [--only PREFIX]... [--rounds N] [--json PATH]
//
// Every model is checked before it is timed: the fast path's logits against the exact path's on the same pages.
// Weights are random, never zero; a step is timed on the host, from its inputs to its logits there.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "backend/cuda/backend_on_driver.h"
#include "backend/cuda/cuda_backend.h"
#include "base/text.h"
#include "bench/gpu_ceilings.h"
#include "support/synthetic_model.h"

asm(".section .rodata\n.balign 64\nkvi_bench_ceilings:\n.incbin \"" KVINFER_BENCH_IMAGES
    "/ceilings.fatbin\"\n.previous\n");
extern "C" const unsigned char kvi_bench_ceilings[];

namespace kvi::cuda {
namespace {

constexpr int64_t kDistinctRows = 509;

// Llama-3.1-8B and Llama-3.2-1B.
SyntheticConfig llama_shape(const std::string& size) {
  const bool is_8b = size == "8b";
  SyntheticConfig config;
  config.num_layers = is_8b ? 32 : 16;
  config.embedding_len = is_8b ? 4096 : 2048;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = config.rotary_dim = is_8b ? 128 : 64;
  config.ffn_len = is_8b ? 14336 : 8192;
  config.vocab_size = 128256;
  config.is_tied = !is_8b;
  config.kv_dtype = DType::BF16;
  config.distinct_rows = kDistinctRows;
  config.is_even = true;
  return config;
}

struct Row {
  std::string name, size;
  DType dtype;
  int num_sequences, context;  // tokens before the timed step
  int num_rows;                // of each sequence in a step: 1 decodes
  const char* unit;
};

// Names and work as in the table of docs/performance.md.
std::vector<Row> rows() {
  std::vector<Row> rows = {
      {"decode_b1_8b_bf16", "8b", DType::BF16, 1, 512, 1, "tok/s"},
      {"decode_b1_8b_bf16_16k", "8b", DType::BF16, 1, 16384, 1, "tok/s"},
      {"decode_b32_8b_bf16_8k", "8b", DType::BF16, 32, 8192, 1, "ms"},
      {"prefill_2k_8b_bf16", "8b", DType::BF16, 1, 0, 2048, "tok/s"},
      {"prefill_8k_8b_bf16", "8b", DType::BF16, 1, 0, 8192, "tok/s"},
      {"prefill_16x2k_8b_bf16", "8b", DType::BF16, 16, 0, 2048, "tok/s"},
      {"decode_b1_8b_q8_0", "8b", DType::Q8_0, 1, 512, 1, "tok/s"},
      {"decode_b64_8b_q8_0", "8b", DType::Q8_0, 64, 512, 1, "tok/s"},
      {"prefill_2k_8b_q8_0", "8b", DType::Q8_0, 1, 0, 2048, "tok/s"},
      {"decode_b1_8b_q4_k", "8b", DType::Q4_K, 1, 512, 1, "tok/s"},
      {"decode_b64_8b_q4_k", "8b", DType::Q4_K, 64, 512, 1, "tok/s"},
      {"prefill_2k_8b_q4_k", "8b", DType::Q4_K, 1, 0, 2048, "tok/s"},
      {"decode_b1_1b_bf16", "1b", DType::BF16, 1, 512, 1, "tok/s"},
  };
  for (int count : {8, 32, 64, 128, 256}) {
    rows.push_back(
        {concat("decode_b", count, "_8b_bf16"), "8b", DType::BF16, count, 512, 1, "tok/s"});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::pair(a.size, b.dtype) < std::pair(b.size, a.dtype);
  });
  return rows;
}

std::vector<std::byte> random_halves() {
  std::vector<uint16_t> values((32 << 20) / 2);
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> some(4093);
  for (uint16_t& value : some) value = f32_to_bf16(normal(random));
  for (size_t i = 0; i < values.size(); ++i) values[i] = some[i % some.size()];
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

class Bench {
 public:
  Bench(int rounds, std::vector<std::string> only) : rounds_(rounds), only_(std::move(only)) {
    driver_ = open_driver();
    device_ = std::make_shared<Device>(driver_, 0);
    backend_ = make_cuda_backend(driver_, 0);
    result_["device"] = device_->info().name;
    result_["driver"] = version_text(driver_->version);
  }

  void run() {
    const GpuCeilings ceilings = measure_ceilings(device_, kvi_bench_ceilings);
    read_ = ceilings.read;
    result_["ceilings"] = {{"read", ceilings.read},
                           {"copy", ceilings.copy},
                           {"to_device", ceilings.to_device},
                           {"to_host", ceilings.to_host}};
    std::printf("%s: read %.2f TB/s, copy %.2f TB/s, to device %.1f GB/s, to host %.1f GB/s\n",
                device_->info().name.c_str(), ceilings.read / 1e12, ceilings.copy / 1e12,
                ceilings.to_device / 1e9, ceilings.to_host / 1e9);
    result_["results"] = nlohmann::json::array();
    for (const Row& row : rows()) {
      if (is_wanted(row.name)) measure(row);
    }
  }
  const nlohmann::json& result() const { return result_; }

 private:
  bool is_wanted(const std::string& name) const {
    return only_.empty() || std::any_of(only_.begin(), only_.end(), [&](const std::string& prefix) {
             return name.starts_with(prefix);
           });
  }

  const SyntheticModel& model_of(const Row& row) {
    const std::string key = concat(row.size, dtype_name(row.dtype));
    if (key != model_key_) {
      model_.reset();
      SyntheticConfig config = llama_shape(row.size);
      config.dtype = row.dtype;
      if (row.dtype == DType::Q4_K) config.head_dtype = DType::Q6_K;  // as Q4_K_M has it
      config.max_context = 32768;
      const auto start = std::chrono::steady_clock::now();
      model_ = std::make_unique<SyntheticModel>(*backend_, config, 3, false);
      model_key_ = key;
      check();
      std::printf("%s loaded and checked in %.1f s\n", key.c_str(),
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return *model_;
  }

  std::unique_ptr<Executor> executor(Precision precision, int max_rows, int max_sequences) {
    ExecutorShape shape = model_->executor_shape(max_rows, max_sequences);
    shape.max_logit_rows = std::min(max_rows, 256);
    ExecutorOptions options;
    options.precision = precision;
    return backend_->make_executor(shape, options);
  }

  static SyntheticChunk chunk(int sequence, int position, int num_rows) {
    SyntheticChunk chunk{sequence, position, {}};
    for (int i = 0; i < num_rows; ++i) {
      chunk.token_ids.push_back((sequence * 7919 + (position + i) * 104729 + 17) % 128256);
    }
    return chunk;
  }

  // A prompt of three sequences, then a token of each.
  void check() {
    std::vector<std::vector<float>> logits;
    for (Precision precision : {Precision::f32_activations, Precision::int8_activations}) {
      const auto one = executor(precision, 512, 4);
      SyntheticRun run(*model_, *one, 3, filler_, 256);
      run.step({chunk(0, 0, 70), chunk(1, 0, 1), chunk(2, 0, 23)});
      logits.push_back(run.step({chunk(0, 70, 1), chunk(1, 1, 1), chunk(2, 23, 1)}));
    }
    double difference = 0, size = 0;
    for (size_t i = 0; i < logits[0].size(); ++i) {
      difference += std::pow(double{logits[1][i]} - logits[0][i], 2);
      size += std::pow(double{logits[0][i]}, 2);
    }
    const double error = std::sqrt(difference / size);
    std::printf("%s: fast against exact: %.2e\n", model_key_.c_str(), error);
    if (!(error < 0.03)) {
      std::printf("FAILED: the fast path's logits are wrong\n");
      std::exit(1);
    }
  }

  void measure(const Row& row) {
    const SyntheticModel& model = model_of(row);
    const bool decodes = row.num_rows == 1;
    const int max_rows = row.num_sequences * row.num_rows;
    const auto fast = executor(Precision::int8_activations, max_rows, row.num_sequences);
    const int rounds = decodes ? 4 * rounds_ : rounds_;
    SyntheticRun run(model, *fast, row.num_sequences, filler_,
                     row.context + (decodes ? rounds + 8 : row.num_rows));
    int position = row.context;
    const auto step = [&] {
      std::vector<SyntheticChunk> chunks;
      std::vector<int32_t> last;
      for (int s = 0; s < row.num_sequences; ++s) {
        chunks.push_back(chunk(s, position, row.num_rows));
        last.push_back((s + 1) * row.num_rows - 1);
      }
      run.run_layers(chunks);
      logits_.resize(last.size() * 128256);
      run.head(last, logits_);
      if (decodes) ++position;
    };
    for (int i = 0; i < 4; ++i) step();
    const double seconds = median_seconds(rounds, step);
    const double floor = floor_seconds(model, row);
    const double tokens = max_rows;
    const bool in_ms = std::string(row.unit) == "ms";
    result_["results"].push_back(
        {{"name", row.name},
         {"config", concat(row.size, " ", dtype_name(row.dtype), ", ", row.num_sequences,
                           " sequences at ", row.context)},
         {"value", in_ms ? seconds * 1e3 : tokens / seconds},
         {"unit", row.unit},
         {"floor", in_ms ? floor * 1e3 : tokens / floor},
         {"fraction", floor / seconds}});
    std::printf("%-24s %10.1f %-6s %8.3f ms a step, floor %8.3f ms, fraction %.3f\n",
                row.name.c_str(), in_ms ? seconds * 1e3 : tokens / seconds, row.unit, seconds * 1e3,
                floor * 1e3, floor / seconds);
    std::fflush(stdout);
  }

  // Bytes over the read ceiling; of a prefill its operations over the matmul ceiling.
  double floor_seconds(const SyntheticModel& model, const Row& row) const {
    const SyntheticConfig& c = model.config();
    const double kv_bytes_a_token = 2.0 * c.num_layers * c.kv_len() * 2;
    const double embedding_bytes = c.is_tied ? 0.0
                                             : static_cast<double>(
                                                   model.embedding().tokens->size_bytes());
    const double bytes = static_cast<double>(model.weight_bytes()) - embedding_bytes +
                         kv_bytes_a_token * row.num_sequences * row.context;
    const double weights_a_layer = double{1} * c.embedding_len * (2 * c.q_len() + 2 * c.kv_len()) +
                                   3.0 * c.embedding_len * c.ffn_len;
    const double rows = static_cast<double>(row.num_sequences) * row.num_rows;
    const double linear = 2 * rows * c.num_layers * weights_a_layer +
                          2.0 * row.num_sequences * c.embedding_len * c.vocab_size;
    const double attention = row.num_rows == 1
                                 ? 0
                                 : 2.0 * row.num_sequences * c.num_layers * c.q_len() *
                                       static_cast<double>(row.num_rows) * row.num_rows;
    return std::max(bytes / read_, linear / kMatmulRate + attention / kAttentionRate);
  }

  // TARGETS' figures for this kind of GPU.
  static constexpr double kMatmulRate = 772e12, kAttentionRate = 590e12;

  const int rounds_;
  const std::vector<std::string> only_;
  std::shared_ptr<const Driver> driver_;
  std::shared_ptr<const Device> device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<SyntheticModel> model_;
  std::string model_key_;
  const std::vector<std::byte> filler_ = random_halves();
  std::vector<float> logits_;
  double read_ = 0;
  nlohmann::json result_;
};

}  // namespace
}  // namespace kvi::cuda

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  int rounds = 15;
  std::vector<std::string> only;
  std::string json;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--rounds") rounds = std::atoi(argv[i + 1]);
    if (option == "--only") only.push_back(argv[i + 1]);
    if (option == "--json") json = argv[i + 1];
  }
  try {
    kvi::cuda::Bench bench(rounds, only);
    bench.run();
    if (!json.empty()) std::ofstream(json) << bench.result().dump(1) << "\n";
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
  return 0;
}
