#include "backend/cpu/cpu_executor.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "support/expect_error.h"
#include "support/reference_model.h"
#include "support/seed.h"
#include "support/synthetic_model.h"
#include "support/vector_testing.h"

namespace kvi::cpu {
namespace {

// A model and a run of it on one instruction set.
struct Machine {
  std::unique_ptr<Backend> backend;
  SyntheticModel model;
  std::unique_ptr<Executor> executor;
  SyntheticRun run;

  Machine(Isa isa, const SyntheticConfig& config, uint64_t seed, Precision precision,
          int num_threads = 2, int max_rows = 160, int num_sequences = 1)
      : backend(make_cpu_backend(isa)),
        model(*backend, config, seed),
        executor(backend->make_executor(model.executor_shape(max_rows, num_sequences),
                                        {num_threads, precision})),
        run(model, *executor, num_sequences) {}
};

class CpuExecutorTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    const std::string reason = why_unsupported(GetParam());
    if (!reason.empty()) {
      GTEST_SKIP() << "this machine cannot run " << isa_name(GetParam()) << ": " << reason;
    }
  }
  uint64_t seed_ = test_seed();
  std::mt19937_64 random_{seed_};
};

TEST_P(CpuExecutorTest, EveryFamilyIsNearItsDefinition) {
  for (const Family& family : families()) {
    SyntheticConfig config = family.config;
    const std::vector<int32_t> tokens = random_tokens(45, config.vocab_size, random_);
    for (DType kv_dtype : {DType::F32, DType::F16}) {
      config.kv_dtype = kv_dtype;
      Machine machine(GetParam(), config, seed_, Precision::f32_activations);
      const std::vector<float> logits = machine.run.step({chunk_of(0, tokens, 0, 45)});
      // A key near the middle of two f16 numbers may be rounded to either.
      EXPECT_LT(relative_error(logits, Reference(machine.model).logits(tokens)),
                kv_dtype == DType::F32 ? 1e-5 : 1e-3)
          << family.name;
    }
  }
}

TEST_P(CpuExecutorTest, QuantizedWeightsAreNearTheirDefinitionOnBothPaths) {
  for (Family family : families()) {
    family.config.dtype = DType::Q4_0;
    family.config.num_heads *= 2;  // whole blocks of 32 columns
    const std::vector<int32_t> tokens = random_tokens(20, family.config.vocab_size, random_);
    Machine exact(GetParam(), family.config, seed_, Precision::f32_activations);
    EXPECT_LT(relative_error(exact.run.step({chunk_of(0, tokens, 0, 20)}),
                             Reference(exact.model).logits(tokens)),
              1e-3)
        << family.name;
    // Rounding errors are random: one tiny model now and then has twice the usual one.
    constexpr int kModels = 4;
    double mean_error = 0;
    for (int i = 0; i < kModels; ++i) {
      Machine rounded(GetParam(), family.config, seed_ + i, Precision::int8_activations);
      const std::vector<float> logits = rounded.run.step({chunk_of(0, tokens, 0, 20)});
      mean_error += relative_error(logits, Reference(rounded.model).logits(tokens)) / kModels;
    }
    EXPECT_LT(mean_error, 0.045) << family.name;
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

TEST_P(CpuExecutorTest, StepsGiveTheBitsOfTheScalarOnesInAnyChunksOnAnyThreads) {
  for (Family family : families()) {
    for (Precision precision : {Precision::f32_activations, Precision::int8_activations}) {
      if (precision == Precision::int8_activations) {
        family.config.dtype = DType::Q4_0;
        family.config.num_heads *= 2;  // whole blocks of 32 columns
      }
      const std::vector<int32_t> tokens = random_tokens(70, family.config.vocab_size, random_);
      Machine scalar(Isa::scalar, family.config, seed_, precision, 1);
      const std::vector<float> expected = run_in_chunks(scalar, tokens, 70);
      for (auto [chunk, num_threads] : {std::pair{1, 2}, {16, 1}, {64, 3}, {70, 2}, {7, 3}}) {
        Machine machine(GetParam(), family.config, seed_, precision, num_threads);
        EXPECT_TRUE(same_bits(run_in_chunks(machine, tokens, chunk), expected))
            << family.name << " chunk " << chunk << " threads " << num_threads;
      }
    }
  }
}

TEST_P(CpuExecutorTest, NeighboursInTheBatchDoNotChangeABit) {
  for (Family family : families()) {
    family.config.dtype = DType::Q8_0;
    family.config.num_heads *= 2;
    std::vector<std::vector<int32_t>> tokens;
    for (int len : {40, 1, 17, 64, 33}) {
      tokens.push_back(random_tokens(len, family.config.vocab_size, random_));
    }
    const int vocab_size = family.config.vocab_size;
    Machine together(GetParam(), family.config, seed_, Precision::int8_activations, 2, 256, 5);
    // A step of prefill chunks of all, then one of ends and beginnings mixed.
    const std::vector<float> first = together.run.step({chunk_of(3, tokens[3], 0, 50),
                                                        chunk_of(0, tokens[0], 0, 39),
                                                        chunk_of(2, tokens[2], 0, 16)});
    const std::vector<float> second = together.run.step(
        {chunk_of(0, tokens[0], 39, 1), chunk_of(1, tokens[1], 0, 1), chunk_of(2, tokens[2], 16, 1),
         chunk_of(3, tokens[3], 50, 14), chunk_of(4, tokens[4], 0, 33)});
    for (auto [sequence, first_row, count] :
         {std::tuple{0, 0, 1}, {1, 1, 1}, {2, 2, 1}, {3, 3, 14}, {4, 17, 33}}) {
      Machine alone(GetParam(), family.config, seed_, Precision::int8_activations, 1);
      const int len = static_cast<int>(tokens[sequence].size());
      const std::vector<float> expected = run_in_chunks(alone, tokens[sequence], len);
      EXPECT_TRUE(same_bits(std::span(second).subspan(first_row * vocab_size, count * vocab_size),
                            std::span(expected).subspan((len - count) * vocab_size)))
          << family.name << " sequence " << sequence;
    }
  }
}

TEST_P(CpuExecutorTest, ADecodedTokenWritesItsOwnSlotsOnly) {
  const SyntheticConfig config;
  Machine machine(GetParam(), config, seed_, Precision::f32_activations);
  const std::vector<int32_t> tokens = random_tokens(40, config.vocab_size, random_);
  machine.run.step({chunk_of(0, tokens, 0, 39)});
  const std::vector<uint16_t> before = machine.run.kv_memory();
  machine.run.step({chunk_of(0, tokens, 39, 1)});
  const std::vector<uint16_t> memory = machine.run.kv_memory();
  // Free slots hold NaN, so none can have been rewritten with its old value.
  int num_changed = 0;
  for (size_t i = 0; i < before.size(); ++i) num_changed += before[i] != memory[i];
  EXPECT_EQ(num_changed, config.num_layers * 2 * config.kv_len());
}

INSTANTIATE_TEST_SUITE_P(, CpuExecutorTest, testing::ValuesIn(kAllIsas), isa_test_name);

TEST(CpuExecutorErrorTest, TokensAndPositionsOutsideTheirTablesAreInternalErrors) {
  const SyntheticConfig config = families()[3].config;
  Machine machine(Isa::scalar, config, 1, Precision::f32_activations, 1);
  for (int32_t token : {-1, config.vocab_size}) {
    EXPECT_ERROR(machine.run.step({{0, 0, {token}}}), INTERNAL, "token id");
  }
  SyntheticConfig short_table = config;
  short_table.max_context = 8;
  auto backend = make_cpu_backend(Isa::scalar);
  SyntheticModel model(*backend, short_table, 1);
  ExecutorShape shape = model.executor_shape(16, 1);
  shape.max_context = 64;
  auto executor = backend->make_executor(shape, {1, Precision::f32_activations});
  const SequenceRows rows = {0, 1, 8};
  const int32_t position = 8, token = 0;
  executor->begin_step({1, {&rows, 1}, {&position, 1}});
  EXPECT_ERROR(executor->embed(model.embedding(), {&token, 1}), INTERNAL, "position 8");
}

TEST(CpuExecutorErrorTest, StepsLargerThanTheExecutorAreInternalErrors) {
  const SyntheticConfig config;
  Machine machine(Isa::scalar, config, 1, Precision::f32_activations, 1, 4);
  EXPECT_ERROR(machine.run.step({{0, 0, {1, 2, 3, 4, 5}}}), INTERNAL, "max_rows");
  EXPECT_ERROR(machine.run.step({{0, config.max_context - 1, {1, 2}}}), INTERNAL, "max_context");
}

TEST(CpuExecutorScratchTest, BytesAreKnownBeforeTheExecutorExists) {
  auto backend = make_cpu_backend(Isa::scalar);
  for (const Family& family : families()) {
    SyntheticModel model(*backend, family.config, 1);
    for (int max_rows : {1, 7, 512}) {
      for (Precision precision : {Precision::f32_activations, Precision::int8_activations}) {
        const ExecutorShape shape = model.executor_shape(max_rows, 3);
        const ExecutorOptions options = {3, precision};
        const uint64_t bytes = backend->scratch_bytes(shape, options);
        EXPECT_EQ(backend->make_executor(shape, options)->scratch_bytes(), bytes);
        EXPECT_GE(bytes, uint64_t{4} * max_rows * family.config.embedding_len);
      }
    }
  }
}

TEST(CpuExecutorHeadTest, RowsAreTakenInAnyOrderAndMoreOftenThanOneStepHolds) {
  const SyntheticConfig config;
  auto backend = make_cpu_backend(best_isa());
  SyntheticModel model(*backend, config, 5);
  ExecutorShape shape = model.executor_shape(3, 1);
  shape.max_logit_rows = 8;
  auto executor = backend->make_executor(shape, {2, Precision::f32_activations});
  SyntheticRun run(model, *executor, 1);
  const std::vector<float> in_order = run.step({{0, 0, {4, 9, 2}}});
  const std::vector<int32_t> rows = {2, 0, 0, 1, 2, 1, 1};
  std::vector<float> logits(rows.size() * config.vocab_size);
  executor->head(model.head(), rows, logits.data());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(
        same_bits(std::span(logits).subspan(i * config.vocab_size, config.vocab_size),
                  std::span(in_order).subspan(rows[i] * config.vocab_size, config.vocab_size)));
  }
}

}  // namespace
}  // namespace kvi::cpu
