#include "backend/cpu/cpu_executor.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "support/expect_error.h"
#include "support/seed.h"
#include "support/synthetic_model.h"
#include "support/vector_testing.h"

namespace kvi::cpu {
namespace {

struct Family {
  const char* name;
  SyntheticConfig config;
};

// Between them, every part of a layer.
std::vector<Family> families() {
  SyntheticConfig llama;

  SyntheticConfig qwen;
  qwen.has_biases = true;
  qwen.rope_pairs = RopePairs::half_split;
  qwen.num_heads = 6;
  qwen.num_kv_heads = 2;
  qwen.head_dim = 24;
  qwen.rotary_dim = 12;

  SyntheticConfig gemma;
  gemma.has_head_norms = gemma.has_post_norms = true;
  gemma.rope_pairs = RopePairs::half_split;
  gemma.activation = Activation::gelu_tanh;
  gemma.embedding_scale = 8;
  gemma.window = 20;
  gemma.softcap = 3;
  gemma.num_kv_heads = 1;
  gemma.page_len = 32;

  SyntheticConfig gpt2;
  gpt2.norm = NormKind::layer;
  gpt2.has_biases = true;
  gpt2.is_gated = false;
  gpt2.activation = Activation::gelu_tanh;
  gpt2.rotary_dim = 0;
  gpt2.num_kv_heads = 4;

  return {{"llama", llama}, {"qwen", qwen}, {"gemma", gemma}, {"gpt2", gpt2}};
}

using Row = std::vector<double>;

// The layers by definition, in double precision, one sequence from its start.
class Reference {
 public:
  explicit Reference(const SyntheticModel& model) : model_(model), config_(model.config()) {}

  std::vector<float> logits(const std::vector<int32_t>& tokens) {
    std::vector<Row> hidden;
    for (size_t position = 0; position < tokens.size(); ++position) {
      const std::vector<float> token = model_.row(model_.embedding().tokens, tokens[position]);
      Row row(token.begin(), token.end());
      for (double& value : row) value *= config_.embedding_scale;
      if (model_.embedding().positions != nullptr) {
        add(model_.row(model_.embedding().positions, static_cast<int64_t>(position)), row);
      }
      hidden.push_back(row);
    }
    for (int i = 0; i < config_.num_layers; ++i) run_layer(i, hidden);
    std::vector<float> out;
    for (const Row& row : hidden) {
      for (double logit : project(model_.head().out, norm(model_.head().norm, row))) {
        if (config_.softcap > 0) logit = config_.softcap * std::tanh(logit / config_.softcap);
        out.push_back(static_cast<float>(logit));
      }
    }
    return out;
  }

 private:
  template <typename Values>
  static void add(const Values& values, Row& to) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += values[i];
  }

  Row norm(const Norm& norm, const Row& x) const {
    if (norm.kind == NormKind::none) return x;
    double mean = 0, squares = 0;
    if (norm.kind == NormKind::layer) {
      for (double value : x) mean += value / x.size();
    }
    for (double value : x) squares += (value - mean) * (value - mean) / x.size();
    Row out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      out[i] = (x[i] - mean) / std::sqrt(squares + norm.eps) * (*model_.values(norm.weight))[i];
      if (norm.bias != nullptr) out[i] += (*model_.values(norm.bias))[i];
    }
    return out;
  }

  Row project(const Linear& linear, const Row& x) const {
    Row out;
    for (int64_t n = 0; n < linear.weight->rows(); ++n) {
      const std::vector<float> weights = model_.row(linear.weight, n);
      double sum = linear.bias == nullptr ? 0 : (*model_.values(linear.bias))[n];
      for (size_t k = 0; k < x.size(); ++k) sum += x[k] * weights[k];
      out.push_back(sum);
    }
    return out;
  }

  // Norm and rotation of each head, in place.
  void finish_heads(const AttentionWeights& weights, const Norm& head_norm, int position,
                    Row& row) {
    const size_t head_dim = weights.head_dim;
    for (size_t first = 0; first < row.size(); first += head_dim) {
      Row head = norm(head_norm, Row(row.begin() + first, row.begin() + first + head_dim));
      if (weights.rope != nullptr) {
        const int half = weights.rope->rotary_dim / 2;
        const bool adjacent = weights.rope->pairs == RopePairs::interleaved;
        for (int i = 0; i < half; ++i) {
          double& a = head[adjacent ? 2 * i : i];
          double& b = head[adjacent ? 2 * i + 1 : i + half];
          const double angle = position * weights.rope->inverse_frequencies[i];
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
      }
      std::copy(head.begin(), head.end(), row.begin() + first);
    }
  }

  double rounded(double value) const {
    const float single = static_cast<float>(value);
    return config_.kv_dtype == DType::F32 ? single : f16_to_f32(f32_to_f16(single));
  }

  void run_layer(int index, std::vector<Row>& hidden) {
    const SyntheticModel::Layer& layer = model_.layers()[index];
    const AttentionWeights& attention = layer.attention;
    const int window = config_.window_of(index), head_dim = attention.head_dim;
    const int group = attention.num_heads / attention.num_kv_heads;
    std::vector<Row> queries, keys, values;
    for (size_t position = 0; position < hidden.size(); ++position) {
      const Row x = norm(attention.input_norm, hidden[position]);
      queries.push_back(project(attention.q, x));
      keys.push_back(project(attention.k, x));
      values.push_back(project(attention.v, x));
      finish_heads(attention, attention.q_norm, static_cast<int>(position), queries.back());
      finish_heads(attention, attention.k_norm, static_cast<int>(position), keys.back());
      for (double& key : keys.back()) key = rounded(key);
      for (double& value : values.back()) value = rounded(value);
    }
    for (int position = 0; position < static_cast<int>(hidden.size()); ++position) {
      Row attended(config_.q_len(), 0.0);
      for (int h = 0; h < attention.num_heads; ++h) {
        const double* query = queries[position].data() + h * head_dim;
        const int kv = h / group * head_dim;
        double sum = 0;
        for (int j = window == 0 ? 0 : std::max(0, position + 1 - window); j <= position; ++j) {
          double score = 0;
          for (int d = 0; d < head_dim; ++d) score += query[d] * keys[j][kv + d];
          score *= attention.softmax_scale;
          if (config_.softcap > 0) score = config_.softcap * std::tanh(score / config_.softcap);
          sum += std::exp(score);
          for (int d = 0; d < head_dim; ++d) {
            attended[h * head_dim + d] += std::exp(score) * values[j][kv + d];
          }
        }
        for (int d = 0; d < head_dim; ++d) attended[h * head_dim + d] /= sum;
      }
      Row& row = hidden[position];
      add(norm(attention.post_norm, project(attention.out, attended)), row);

      const MlpWeights& mlp = layer.mlp;
      const Row x = norm(mlp.input_norm, row);
      Row up = project(mlp.up, x);
      Row gate = mlp.gate.weight != nullptr ? project(mlp.gate, x) : up;
      for (size_t i = 0; i < up.size(); ++i) {
        const double g = gate[i];
        const double active = mlp.activation == Activation::silu
                                  ? g / (1 + std::exp(-g))
                                  : 0.5 * g *
                                        (1 + std::tanh(std::sqrt(2 / M_PI) *
                                                       (g + 0.044715 * g * g * g)));
        up[i] = mlp.gate.weight != nullptr ? active * up[i] : active;
      }
      add(norm(mlp.post_norm, project(mlp.down, up)), row);
    }
  }

  const SyntheticModel& model_;
  const SyntheticConfig& config_;
};

std::vector<int32_t> random_tokens(int count, int vocab_size, std::mt19937_64& random) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

SyntheticChunk chunk_of(int sequence, const std::vector<int32_t>& tokens, int first, int count) {
  return {sequence, first, {tokens.begin() + first, tokens.begin() + first + count}};
}

// The largest difference, as a part of the largest value.
double relative_error(const std::vector<float>& values, const std::vector<float>& exact) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference = std::max(difference, std::abs(double{values[i]} - exact[i]));
    largest = std::max(largest, std::abs(double{exact[i]}));
    if (std::isnan(values[i])) return values[i];
  }
  return difference / largest;
}

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
  const std::span<const uint16_t> memory = machine.run.kv_memory();
  const std::vector<uint16_t> before(memory.begin(), memory.end());
  machine.run.step({chunk_of(0, tokens, 39, 1)});
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
