// Whole layers on a GPU against their definition, and the bits that must not depend on the batch.
#include <gtest/gtest.h>

#include "backend/cuda/cuda_backend.h"
#include "support/expect_error.h"
#include "support/reference_model.h"
#include "support/same_bits.h"
#include "support/seed.h"

namespace kvi::cuda {
namespace {

// A model and a run of it on the first GPU.
struct Machine {
  std::unique_ptr<Backend> backend = make_cuda_backend(0);
  SyntheticModel model;
  std::unique_ptr<Executor> executor;
  SyntheticRun run;

  Machine(const SyntheticConfig& config, uint64_t seed, int max_rows = 160, int num_sequences = 1)
      : model(*backend, config, seed),
        executor(backend->make_executor(model.executor_shape(max_rows, num_sequences),
                                        {1, Precision::f32_activations})),
        run(model, *executor, num_sequences) {}
};

class CudaExecutorTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    const std::vector<DeviceDescription> found = devices(&why);
    if (found.empty() || !found[0].unsupported_reason.empty()) {
      GTEST_SKIP() << (found.empty() ? why : found[0].unsupported_reason);
    }
  }
  uint64_t seed_ = test_seed();
  std::mt19937_64 random_{seed_};
};

TEST_F(CudaExecutorTest, EveryFamilyIsNearItsDefinition) {
  for (const Family& family : families()) {
    SyntheticConfig config = family.config;
    const std::vector<int32_t> tokens = random_tokens(45, config.vocab_size, random_);
    for (DType kv_dtype : {DType::F32, DType::F16}) {
      config.kv_dtype = kv_dtype;
      Machine machine(config, seed_);
      const std::vector<float> logits = machine.run.step({chunk_of(0, tokens, 0, 45)});
      // A key near the middle of two f16 numbers may be rounded to either.
      EXPECT_LT(relative_error(logits, Reference(machine.model).logits(tokens)),
                kv_dtype == DType::F32 ? 1e-5 : 1e-3)
          << family.name;
    }
  }
}

TEST_F(CudaExecutorTest, QuantizedWeightsAreNearTheirDefinition) {
  for (Family family : families()) {
    for (DType dtype : {DType::Q4_0, DType::Q8_0, DType::BF16}) {
      family.config.dtype = dtype;
      family.config.head_dim = 32;  // whole blocks of columns
      family.config.is_even = true;
      family.config.rotary_dim = std::min(family.config.rotary_dim, 32);
      const std::vector<int32_t> tokens = random_tokens(20, family.config.vocab_size, random_);
      Machine machine(family.config, seed_);
      EXPECT_LT(relative_error(machine.run.step({chunk_of(0, tokens, 0, 20)}),
                               Reference(machine.model).logits(tokens)),
                1e-3)
          << family.name << " " << dtype_name(dtype);
    }
  }
}

// On tensor cores, with 16-bit activations; alone and beside others, in chunks and token by token.
TEST_F(CudaExecutorTest, TheFastPathIsNearTheDefinition) {
  for (Family family : families()) {
    for (DType dtype : {DType::F32, DType::BF16, DType::Q8_0, DType::Q4_0}) {
      for (int head_dim : {32, 64, 128}) {
        SyntheticConfig config = family.config;
        config.dtype = dtype;
        config.head_dim = head_dim;
        config.rotary_dim = std::min(config.rotary_dim, head_dim);
        config.embedding_len = 128;
        config.ffn_len = 256;
        config.kv_dtype = DType::BF16;
        config.is_even = true;
        auto backend = make_cuda_backend(0);
        const SyntheticModel model(*backend, config, seed_);
        const auto executor = backend->make_executor(model.executor_shape(160, 4), {});
        SyntheticRun run(model, *executor, 4);
        const auto expect_near = [&](std::span<const float> found, std::span<const float> exact,
                                     const std::string& what) {
          EXPECT_LT(relative_error({found.begin(), found.end()}, {exact.begin(), exact.end()}),
                    3e-2)
              << family.name << " " << dtype_name(dtype) << " head_dim " << head_dim << " " << what;
        };
        const size_t vocab_size = static_cast<size_t>(config.vocab_size);
        std::vector<std::vector<int32_t>> tokens;
        std::vector<std::vector<float>> exact;
        for (int len : {90, 20, 33, 7}) {
          tokens.push_back(random_tokens(len, config.vocab_size, random_));
          exact.push_back(Reference(model).logits(tokens.back()));
        }
        expect_near(run.step({chunk_of(0, tokens[0], 0, 80)}),
                    std::span(exact[0]).first(80 * vocab_size), "prefill");
        run.step({chunk_of(1, tokens[1], 0, 12), chunk_of(2, tokens[2], 0, 25),
                  chunk_of(3, tokens[3], 0, 1)});
        for (int i = 0; i < 6; ++i) {  // the second of these runs as a graph
          const std::vector<float> logits = run.step(
              {chunk_of(0, tokens[0], 80 + i, 1), chunk_of(1, tokens[1], 12 + i, 1),
               chunk_of(2, tokens[2], 25 + i, 1), chunk_of(3, tokens[3], 1 + i, 1)});
          for (size_t s = 0; s < 4; ++s) {
            const size_t position = std::vector<size_t>{80, 12, 25, 1}[s] + i;
            expect_near(std::span(logits).subspan(s * vocab_size, vocab_size),
                        std::span(exact[s]).subspan(position * vocab_size, vocab_size), "decode");
          }
          if (HasFailure()) return;
        }
      }
    }
  }
}

// Logits of one sequence in chunks of a size.
std::vector<float> run_in_chunks(Machine& machine, const std::vector<int32_t>& tokens, int chunk) {
  std::vector<float> logits;
  const int count = static_cast<int>(tokens.size());
  for (int first = 0; first < count; first += chunk) {
    const std::vector<float> part = machine.run.step(
        {chunk_of(0, tokens, first, std::min(chunk, count - first))});
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

TEST_F(CudaExecutorTest, ChunksOfAnySizeGiveTheSameBits) {
  for (const Family& family : families()) {
    const std::vector<int32_t> tokens = random_tokens(70, family.config.vocab_size, random_);
    Machine whole(family.config, seed_);
    const std::vector<float> expected = run_in_chunks(whole, tokens, 70);
    for (int chunk : {1, 7, 16, 64}) {
      Machine machine(family.config, seed_);
      EXPECT_TRUE(same_bits(run_in_chunks(machine, tokens, chunk), expected))
          << family.name << " chunk " << chunk;
    }
  }
}

TEST_F(CudaExecutorTest, NeighboursInTheBatchDoNotChangeABit) {
  for (const Family& family : families()) {
    std::vector<std::vector<int32_t>> tokens;
    for (int len : {40, 1, 17}) {
      tokens.push_back(random_tokens(len, family.config.vocab_size, random_));
    }
    const int vocab_size = family.config.vocab_size;
    Machine together(family.config, seed_, 160, 3);
    together.run.step({chunk_of(2, tokens[2], 0, 16), chunk_of(0, tokens[0], 0, 39)});
    const std::vector<float> last = together.run.step({chunk_of(0, tokens[0], 39, 1),
                                                       chunk_of(1, tokens[1], 0, 1),
                                                       chunk_of(2, tokens[2], 16, 1)});
    for (int sequence : {0, 1, 2}) {
      Machine alone(family.config, seed_);
      const int len = static_cast<int>(tokens[sequence].size());
      const std::vector<float> expected = run_in_chunks(alone, tokens[sequence], len);
      EXPECT_TRUE(same_bits(std::span(last).subspan(sequence * vocab_size, vocab_size),
                            std::span(expected).last(vocab_size)))
          << family.name << " sequence " << sequence;
    }
  }
}

TEST_F(CudaExecutorTest, ADecodedTokenWritesItsOwnSlotsOnly) {
  const SyntheticConfig config;
  Machine machine(config, seed_);
  const std::vector<int32_t> tokens = random_tokens(40, config.vocab_size, random_);
  machine.run.step({chunk_of(0, tokens, 0, 39)});
  const std::vector<uint16_t> before = machine.run.kv_memory();
  machine.run.step({chunk_of(0, tokens, 39, 1)});
  const std::vector<uint16_t> memory = machine.run.kv_memory();
  int num_changed = 0;
  for (size_t i = 0; i < before.size(); ++i) num_changed += before[i] != memory[i];
  EXPECT_EQ(num_changed, config.num_layers * 2 * config.kv_len());
}

TEST_F(CudaExecutorTest, ScratchBytesAreKnownBeforeTheExecutorExists) {
  auto backend = make_cuda_backend(0);
  for (const Family& family : families()) {
    SyntheticModel model(*backend, family.config, 1);
    for (int max_rows : {1, 7, 512}) {
      const ExecutorShape shape = model.executor_shape(max_rows, 3);
      EXPECT_EQ(backend->make_executor(shape, {})->scratch_bytes(),
                backend->scratch_bytes(shape, {}));
    }
  }
}

TEST_F(CudaExecutorTest, LogitRowsMayBeMoreThanFitAtOnceInAnyOrder) {
  const SyntheticConfig config;
  Machine machine(config, seed_, 80);
  const std::vector<int32_t> tokens = random_tokens(80, config.vocab_size, random_);
  const std::vector<float> in_order = machine.run.step({chunk_of(0, tokens, 0, 80)});
  std::vector<int32_t> rows(80);
  for (int32_t i = 0; i < 80; ++i) rows[i] = (i * 37 + 5) % 80;
  std::vector<float> logits(rows.size() * config.vocab_size);
  machine.executor->head(machine.model.head(), rows, logits.data());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(
        same_bits(std::span(logits).subspan(i * config.vocab_size, config.vocab_size),
                  std::span(in_order).subspan(rows[i] * config.vocab_size, config.vocab_size)));
  }
}

}  // namespace
}  // namespace kvi::cuda
