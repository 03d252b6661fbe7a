// Plans: the arithmetic, the published numbers, presets, and that an engine takes what was planned.
#include "engine/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>
#include <limits>
#include <random>

#include "cache/plan.h"
#include "engine/engine.h"
#include "support/expect_error.h"
#include "support/seed.h"

namespace kvi {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = kKiB << 10, kGiB = kMiB << 10;
constexpr double kBytesInGiB = 1024.0 * 1024 * 1024;

ModelShape llama(uint32_t layers, uint32_t heads, uint32_t kv_heads, uint32_t embedding,
                 uint32_t ffn, uint32_t vocab) {
  ModelShape shape;
  shape.num_layers = layers;
  shape.num_heads = heads;
  shape.num_kv_heads = kv_heads;
  shape.embedding_len = embedding;
  shape.ffn_len = ffn;
  shape.vocab_size = vocab;
  return shape;
}
ModelShape llama2_7b() { return llama(32, 32, 32, 4096, 11008, 32000); }
ModelShape llama2_70b() { return llama(80, 64, 8, 8192, 28672, 32000); }
ModelShape llama3_8b() { return llama(32, 32, 8, 4096, 14336, 128256); }

ModelShape gemma3_270m() {
  ModelShape shape = llama(18, 4, 1, 640, 2048, 262144);
  shape.head_dim = 256;
  shape.tied_embeddings = true;
  shape.window = 512;
  shape.num_window_layers = 15;
  return shape;
}

PlanOptions on_device(uint64_t memory_bytes) {
  PlanOptions options;
  options.device_memory_bytes = memory_bytes;
  options.num_threads = 1;
  return options;
}

// ---- arithmetic ----

KvDemand random_demand(std::mt19937_64& random) {
  KvDemand demand;
  demand.page_len = uint64_t{16} << random() % 4;
  demand.chunk = 1 + random() % 300;
  demand.granule_bytes = 1 + random() % 5000;
  demand.state_bytes = random() % 2 == 0 ? 0 : random() % 9000;
  for (uint64_t g = 1 + random() % 3; g > 0; --g) {
    const uint64_t token_bytes = 1 + random() % 100;
    demand.groups.push_back({.page_bytes = token_bytes * demand.page_len,
                             .token_bytes = token_bytes,
                             .window = random() % 2 == 0 ? 0 : 1 + random() % 400});
  }
  return demand;
}

// The most pages that num_held neighbouring tokens of a sequence of len lie in, wherever they are.
uint64_t pages_walked(uint64_t num_held, uint64_t len, uint64_t page_len) {
  uint64_t most = 0;
  for (uint64_t end = std::min(num_held, len); end <= len; ++end) {
    const uint64_t first_page = (end - std::min(num_held, end)) / page_len;
    most = std::max(most, (end + page_len - 1) / page_len - first_page);
  }
  return most;
}

TEST(KvDemandTest, SequencesHoldThePagesThatTheirTokensLieIn) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1000; ++i) {
    const KvDemand demand = random_demand(random);
    const uint64_t len = 1 + random() % 1000;
    uint64_t at_rest = demand.state_bytes, prefilling = demand.state_bytes, spare = 0;
    for (const PlannedGroup& group : demand.groups) {
      const uint64_t window = group.window == 0 ? len : group.window;
      const uint64_t chunk = group.window == 0 ? 0 : demand.chunk;
      at_rest += pages_walked(window, len, demand.page_len) * group.page_bytes;
      prefilling += pages_walked(window + chunk, len, demand.page_len) * group.page_bytes;
      // A window that begins inside a page is planned for, also where no length brings it there.
      spare += group.window == 0 ? 0 : group.page_bytes;
    }
    const uint64_t planned = demand.bytes_per_sequence(len);
    ASSERT_GE(planned, at_rest) << "seed " << seed << ", case " << i;
    ASSERT_LE(planned, at_rest + spare) << "seed " << seed << ", case " << i;
    const uint64_t peak = planned + demand.prefill_bytes(len);
    ASSERT_GE(peak, prefilling) << "seed " << seed << ", case " << i;
    ASSERT_LE(peak, prefilling + spare) << "seed " << seed << ", case " << i;

    const uint64_t count = 2 + random() % 20;
    const uint64_t sum = count * planned + demand.prefill_bytes(len);
    ASSERT_GE(demand.bytes_for(count, len), sum);
    ASSERT_LE(demand.bytes_for(count, len),
              sum + (demand.groups.size() + 1) * (demand.granule_bytes - 1));
  }
}

TEST(KvDemandTest, OneThatIsAloneTakesWhatItsChunksTake) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1000; ++i) {
    KvDemand demand = random_demand(random);
    demand.granule_bytes = 1;
    demand.chunk = 1 + random() % 40;
    const uint64_t len = 1 + random() % 3000;
    // Every chunk from the start, then what a sequence at rest holds.
    uint64_t expected = demand.bytes_per_sequence(len);
    for (uint64_t first = 0; first < len; first += demand.chunk) {
      uint64_t bytes = demand.state_bytes;
      for (const PlannedGroup& group : demand.groups) {
        uint64_t num_pages = 0;
        for (uint64_t page = 0; page * demand.page_len < std::min(len, first + demand.chunk);
             ++page) {
          const uint64_t page_end = (page + 1) * demand.page_len;
          num_pages += group.window == 0 || page_end + group.window > first;
        }
        bytes += num_pages * group.page_bytes;
      }
      expected = std::max(expected, bytes);
    }
    ASSERT_EQ(demand.bytes_for(1, len), expected) << "seed " << seed << ", case " << i;
    ASSERT_LE(demand.bytes_for(1, len), demand.bytes_for(1, len + 1));
    ASSERT_LE(demand.bytes_for(1, len), demand.bytes_for(2, len));
  }
}

TEST(KvDemandTest, MostIsWhatFitsAndOneMoreDoesNot) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1000; ++i) {
    const KvDemand demand = random_demand(random);
    const uint64_t budget = random() % 10'000'000, len = 1 + random() % 1000;
    const uint64_t count = demand.max_sequences(budget, len);
    ASSERT_LE(demand.bytes_for(count, len), budget) << "seed " << seed << ", case " << i;
    ASSERT_GT(demand.bytes_for(count + 1, len), budget) << "seed " << seed << ", case " << i;
    const uint64_t longest = demand.max_len(budget, 1 + count);
    ASSERT_LT(longest, len) << "seed " << seed << ", case " << i;
    if (longest > 0) {
      ASSERT_LE(demand.bytes_for(1 + count, longest), budget) << "seed " << seed << ", case " << i;
    }
  }
}

TEST(KvDemandTest, EachGroupTakesWholeGranules) {
  KvDemand demand;
  demand.granule_bytes = 2 * kMiB;
  demand.groups = {{.page_bytes = 360 * kKiB, .token_bytes = 360 * kKiB / 16, .window = 0},
                   {.page_bytes = 100, .token_bytes = 6, .window = 64}};
  EXPECT_EQ(demand.bytes_for(1, 16), 4 * kMiB);
  EXPECT_EQ(demand.bytes_for(5, 16), 4 * kMiB);
  EXPECT_EQ(demand.bytes_for(6, 16), 6 * kMiB);  // 6 pages of 360 KiB: 2,160 KiB
  EXPECT_EQ(demand.max_sequences(4 * kMiB, 16), 5u);
  EXPECT_EQ(demand.max_sequences(4 * kMiB - 1, 16), 0u);
}

TEST(KvDemandTest, SumsSaturate) {
  KvDemand demand;
  demand.groups = {
      {.page_bytes = uint64_t{1} << 62, .token_bytes = uint64_t{1} << 58, .window = 0}};
  EXPECT_EQ(demand.bytes_for(1u << 30, 1u << 24), UINT64_MAX);
  EXPECT_EQ(demand.bytes_per_sequence(1u << 24), UINT64_MAX);
  EXPECT_EQ(demand.shared_prefix_bytes(1u << 24, 1u << 30), UINT64_MAX);
  EXPECT_EQ(demand.max_sequences(UINT64_MAX - 1, 16), 3u);
  EXPECT_EQ(demand.len_exceeding(UINT64_MAX - 1), 64u);
}

// ---- published numbers ----

TEST(PlanTest, Llama2OutgrowsItsWeightsAt25700Tokens) {
  const Plan plan = plan_shape(llama2_7b(), on_device(80 * kGiB));
  EXPECT_EQ(plan.weights_bytes, 2u * 6738415616);  // the parameters that it was published with
  EXPECT_EQ(plan.kv_bytes_per_token, 512 * kKiB);
  EXPECT_EQ(plan.kv_exceeds_weights_len, 25706u);
}

TEST(PlanTest, ThousandUsersOfAThousandTokensShare487GiB) {
  PlanOptions options = on_device(80 * kGiB);
  options.prefix_len = options.prefix_users = 1000;
  EXPECT_NEAR(plan_shape(llama2_7b(), options).prefix_saved_bytes / kBytesInGiB, 487.8, 0.05);
  options.enable_prefix_caching = false;
  EXPECT_EQ(plan_shape(llama2_7b(), options).prefix_saved_bytes, 0u);
}

TEST(PlanTest, HundredSequencesOf2048TokensTake62GiBOn70B) {
  PlanOptions options = on_device(80 * kGiB);
  options.max_num_seqs = 100;
  options.max_model_len = 2048;
  EXPECT_EQ(plan_shape(llama2_70b(), options).kv_bytes, 62 * kGiB + kGiB / 2);
}

TEST(PlanTest, NarrowTypesCountTheirScales) {
  const auto token_bytes = [](KvType type) {
    PlanOptions options = on_device(80 * kGiB);
    options.kv_type = type;
    return plan_shape(llama3_8b(), options);
  };
  const double f16 = static_cast<double>(token_bytes(KvType::f16).kv_bytes_per_token);
  EXPECT_EQ(token_bytes(KvType::bf16).kv_bytes_per_token, f16);
  EXPECT_NEAR(f16 / token_bytes(KvType::fp8).kv_bytes_per_token, 256.0 / 130, 1e-9);
  EXPECT_NEAR(f16 / token_bytes(KvType::int8).kv_bytes_per_token, 256.0 / 130, 1e-9);
  EXPECT_NEAR(f16 / token_bytes(KvType::int4).kv_bytes_per_token, 3.56, 0.005);
  EXPECT_TRUE(token_bytes(KvType::f16).kv_type_runs);
  EXPECT_FALSE(token_bytes(KvType::fp8).kv_type_runs);
  EXPECT_FALSE(token_bytes(KvType::int4).kv_type_runs);
}

TEST(PlanTest, WindowLayersStopGrowing) {
  PlanOptions options = on_device(80 * kGiB);
  ModelShape all_global = gemma3_270m();
  all_global.num_window_layers = 0;
  // Arithmetic of 15 of 18 layers with a window of 512 tokens and a page more.
  for (const auto& [len, saved] : {std::pair{4096u, 0.729}, {16384u, 0.807}, {65536u, 0.827}}) {
    options.max_model_len = len;
    const double hybrid = static_cast<double>(
        plan_shape(gemma3_270m(), options).kv_bytes_per_sequence);
    const double global = static_cast<double>(
        plan_shape(all_global, options).kv_bytes_per_sequence);
    EXPECT_NEAR(1 - hybrid / global, saved, 0.005) << len;
  }
}

TEST(PlanTest, SharedAndStateLayersDoNotGrowByTheToken) {
  ModelShape shape = llama3_8b();
  shape.num_shared_layers = 8;
  EXPECT_EQ(plan_shape(shape, on_device(80 * kGiB)).kv_bytes_per_token, 128 * kKiB * 24 / 32);
  shape.num_shared_layers = 0;
  shape.num_state_layers = 24;
  shape.state_bytes = kMiB;
  PlanOptions options = on_device(80 * kGiB);
  options.max_model_len = 4096;
  const Plan plan = plan_shape(shape, options);
  EXPECT_EQ(plan.kv_bytes_per_token, 32 * kKiB);
  EXPECT_EQ(plan.kv_bytes_per_sequence, 24 * kMiB + 4096 * 32 * kKiB);
  shape.num_state_layers = 32;
  const Plan recurrent = plan_shape(shape, options);
  EXPECT_EQ(recurrent.kv_bytes_per_sequence, 32 * kMiB);
  EXPECT_EQ(recurrent.kv_exceeds_weights_len, 0u);
}

TEST(PlanTest, ExpertsAndTiedEmbeddingsCountAsWeights) {
  ModelShape mixtral = llama(32, 32, 8, 4096, 14336, 32000);
  mixtral.num_experts = 8;
  EXPECT_EQ(plan_shape(mixtral, {}).weights_bytes, 2u * 46702792704);  // as published
  EXPECT_NEAR(plan_shape(gemma3_270m(), {}).weights_bytes / 2e6, 268, 0.5);
  mixtral.weight_bits = 4.5;
  EXPECT_EQ(plan_shape(mixtral, {}).weights_bytes, 46702792704 / 16 * 9);
  mixtral.weights_bytes = 5;
  EXPECT_EQ(plan_shape(mixtral, {}).weights_bytes, 5u);
}

// ---- what fits ----

TEST(PlanTest, UtilizationCoversWeightsScratchAndKv) {
  PlanOptions options = on_device(80 * kGiB);
  options.gpu_memory_utilization = 0.5;
  const Plan plan = plan_shape(llama3_8b(), options);
  EXPECT_EQ(plan.available_bytes, 40 * kGiB);
  EXPECT_EQ(plan.weights_bytes + plan.scratch_bytes + plan.kv_budget_bytes, 40 * kGiB);
  EXPECT_GT(plan.scratch_bytes, 0u);
}

TEST(PlanTest, CountsAndLengthsAnswerEachOther) {
  PlanOptions options = on_device(40 * kGiB);
  options.max_model_len = 8192;
  const Plan first = plan_shape(llama3_8b(), options);
  ASSERT_GT(first.max_sequences, 1u);
  options.max_num_seqs = static_cast<uint32_t>(first.max_sequences);
  const Plan second = plan_shape(llama3_8b(), options);
  EXPECT_EQ(second.lower_first, LowerFirst::nothing);
  EXPECT_EQ(second.missing_bytes, 0u);
  EXPECT_GE(second.max_len, 8192u);
  options.max_num_seqs += 1;
  const Plan third = plan_shape(llama3_8b(), options);
  EXPECT_EQ(third.lower_first, LowerFirst::max_num_seqs);
  EXPECT_EQ(third.lower_to, second.max_sequences);
  EXPECT_LT(third.max_len, 8192u);
  EXPECT_EQ(third.needed_bytes - third.available_bytes, third.missing_bytes);
}

TEST(PlanTest, TheFirstOptionThatAloneIsEnoughIsToBeLowered) {
  PlanOptions options = on_device(20 * kGiB);
  options.max_model_len = 131072;  // one sequence: 16 GiB, beside 15 of weights
  Plan plan = plan_shape(llama3_8b(), options);
  EXPECT_EQ(plan.lower_first, LowerFirst::max_model_len);
  options.max_model_len = static_cast<uint32_t>(plan.lower_to);
  options.must_fit = MustFit::yes;
  plan_shape(llama3_8b(), options);

  options = on_device(17 * kGiB);  // 15.3: scratch for 65,536 rows leaves nothing
  options.max_num_batched_tokens = 65536;
  options.max_num_seqs = 1;
  options.max_model_len = 512;
  plan = plan_shape(llama3_8b(), options);
  EXPECT_EQ(plan.lower_first, LowerFirst::max_num_batched_tokens);
  options.max_num_batched_tokens = static_cast<uint32_t>(plan.lower_to);
  options.must_fit = MustFit::yes;
  plan_shape(llama3_8b(), options);

  options = on_device(10 * kGiB);
  options.max_num_seqs = 1;
  options.max_model_len = 512;
  plan = plan_shape(llama3_8b(), options);
  EXPECT_EQ(plan.lower_first, LowerFirst::weights);
  EXPECT_LT(plan.lower_to, 9 * kGiB);
  EXPECT_EQ(plan.kv_budget_bytes, 0u);
  ModelShape smaller = llama3_8b();
  smaller.weights_bytes = plan.lower_to;
  options.must_fit = MustFit::yes;
  plan_shape(smaller, options);
}

// The number that follows "name to " in the advice; `otherwise` where it is not there.
uint32_t advised(const Plan& plan, const std::string& name, uint32_t otherwise) {
  const size_t at = plan.advice.find(name + " to ");
  return at == std::string::npos
             ? otherwise
             : static_cast<uint32_t>(std::stoul(plan.advice.substr(at + name.size() + 4)));
}

TEST(PlanTest, WhereNoOptionAloneIsEnoughTheAdviceNamesSeveralThatTogetherAre) {
  PlanOptions options = on_device(8 * kGiB);
  apply_preset(Preset::long_context, options);
  options.must_fit = MustFit::no;
  ModelShape shape = llama3_8b();
  shape.weights_bytes = 7 * kGiB;
  Plan plan = plan_shape(shape, options);
  EXPECT_EQ(plan.lower_first, LowerFirst::max_model_len);  // 250 GiB, nearly all of it K and V
  EXPECT_EQ(plan.lower_to, 0u);
  EXPECT_NE(plan.advice.find("no option alone is enough"), std::string::npos) << plan.advice;
  options.max_num_seqs = advised(plan, "max_num_seqs", options.max_num_seqs);
  options.max_model_len = advised(plan, "max_model_len", *options.max_model_len);
  options.max_num_batched_tokens = advised(plan, "max_num_batched_tokens",
                                           options.max_num_batched_tokens);
  EXPECT_TRUE(plan_shape(shape, options).fits) << plan.advice;

  options = on_device(8 * kGiB);
  apply_preset(Preset::long_context, options);
  options.must_fit = MustFit::no;
  plan = plan_shape(llama3_8b(), options);  // the weights alone are too large
  EXPECT_EQ(plan.lower_first, LowerFirst::weights);
  EXPECT_EQ(plan.lower_to, 0u);
  EXPECT_NE(plan.advice.find("use weights of at most 7."), std::string::npos) << plan.advice;
  EXPECT_NE(plan.advice.find("and lower max_num_seqs"), std::string::npos) << plan.advice;
}

TEST(PlanTest, SwapHoldsSequencesAsTheyRest) {
  PlanOptions options = on_device(80 * kGiB);
  options.max_model_len = 2048;
  options.paused_sequences = 10;
  const Plan plan = plan_shape(llama2_7b(), options);  // 1 GiB each
  EXPECT_EQ(plan.swap_bytes, 10 * kGiB);
  EXPECT_EQ(plan.swap_sequences, 4u);  // in 4 GiB
}

// ---- presets ----

Plan plan_preset(Preset preset, const ModelShape& shape, uint64_t memory_bytes) {
  PlanOptions options = on_device(memory_bytes);
  apply_preset(preset, options);
  return plan_shape(shape, options);
}

TEST(PlanTest, PresetsFitOrSayWhatIsMissing) {
  const Plan throughput = plan_preset(Preset::throughput, llama3_8b(), 80 * kGiB);
  EXPECT_EQ(throughput.available_bytes, 76 * kGiB);
  EXPECT_EQ(throughput.max_num_seqs, 256u);
  EXPECT_EQ(plan_preset(Preset::long_context, llama3_8b(), 400 * kGiB).sequence_len, 128000u);
  EXPECT_EQ(plan_preset(Preset::low_memory, llama3_8b(), 24 * kGiB).page_len, 16u);

  for (Preset preset : {Preset::throughput, Preset::long_context, Preset::low_memory}) {
    try {
      plan_preset(preset, llama2_70b(), 80 * kGiB);
      ADD_FAILURE() << "128 GiB of weights fit 80 GiB";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::EXHAUSTED);
      EXPECT_FALSE(error.is_retryable());
      EXPECT_GT(error.needed(), error.available());
      const std::string missing = std::to_string(error.needed() - error.available());
      EXPECT_NE(error.message().find(missing + " bytes are missing"), std::string::npos)
          << error.message();
    }
  }
}

TEST(PlanTest, PresetsGrantLessToModelsOfShortContext) {
  ModelShape shape = llama3_8b();
  shape.context_len = 512;
  EXPECT_EQ(plan_preset(Preset::throughput, shape, 80 * kGiB).sequence_len, 512u);
}

// ---- hostile numbers ----

TEST(PlanTest, OptionsOutOfRangeAreNamed) {
  const auto with = [](const char* words, auto change) {
    PlanOptions options = on_device(80 * kGiB);
    change(options);
    EXPECT_ERROR(plan_shape(llama3_8b(), options), INVALID_ARGUMENT, words);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double share : {0.0, -0.5, 1.01, nan, HUGE_VAL}) {
    with("gpu_memory_utilization is", [&](auto& o) { o.gpu_memory_utilization = share; });
  }
  with("device_memory_bytes is 0", [](auto& o) { o.device_memory_bytes = 0; });
  with("from 1 to 1152921504606846976", [](auto& o) { o.device_memory_bytes = uint64_t{1} << 63; });
  with("kv_budget_bytes is 0", [](auto& o) { o.kv_budget_bytes = 0; });
  with("kv_budget_bytes is 9223372036854775808",
       [](auto& o) { o.kv_budget_bytes = uint64_t{1} << 63; });
  with("max_model_len is 0", [](auto& o) { o.max_model_len = 0; });
  with("max_model_len is 4294967294", [](auto& o) { o.max_model_len = UINT32_MAX - 1; });
  with("sequence_len is 0", [](auto& o) { o.sequence_len = 0; });
  with("max_num_seqs is 0", [](auto& o) { o.max_num_seqs = 0; });
  with("max_num_seqs is 4097; it must be from 1 to 4096", [](auto& o) { o.max_num_seqs = 4097; });
  with("max_num_batched_tokens is 0", [](auto& o) { o.max_num_batched_tokens = 0; });
  for (uint32_t len : {0u, 8u, 17u, 512u}) {
    with("block_size is", [&](auto& o) { o.block_size = len; });
  }
  with("swap_space_bytes is", [](auto& o) { o.swap_space_bytes = UINT64_MAX; });
  with("paused_sequences is", [](auto& o) { o.paused_sequences = UINT32_MAX; });
  with("prefix_len is", [](auto& o) { o.prefix_len = UINT32_MAX; });
  with("prefix_users is", [](auto& o) { o.prefix_users = UINT32_MAX; });
  with("num_threads is 0", [](auto& o) { o.num_threads = 0; });
}

TEST(PlanTest, ShapesOutOfRangeAreNamed) {
  const auto with = [](const char* words, auto change) {
    ModelShape shape = gemma3_270m();
    change(shape);
    EXPECT_ERROR(plan_shape(shape, {}), INVALID_ARGUMENT, words);
  };
  with("num_layers is 0", [](auto& s) { s.num_layers = 0; });
  with("num_layers is 1000000000; it must be from 1 to 65536",
       [](auto& s) { s.num_layers = 1'000'000'000; });
  with("num_heads is 0", [](auto& s) { s.num_heads = 0; });
  with("num_kv_heads is 5; it must be from 1 to 4", [](auto& s) { s.num_kv_heads = 5; });
  with("head_dim is 0", [](auto& s) { s.head_dim = 0; });
  with("head_dim is 1048576", [](auto& s) { s.head_dim = 1 << 20; });
  with("embedding_len is 0", [](auto& s) { s.embedding_len = 0; });
  with("ffn_len is 4294967295", [](auto& s) { s.ffn_len = UINT32_MAX; });
  with("vocab_size is 0", [](auto& s) { s.vocab_size = 0; });
  with("num_experts is 0", [](auto& s) { s.num_experts = 0; });
  with("context_len is 0", [](auto& s) { s.context_len = 0; });
  with("weight_bits is nan", [](auto& s) { s.weight_bits = std::nan(""); });
  with("weight_bits is 0", [](auto& s) { s.weight_bits = 0; });
  with("weights_bytes is 0", [](auto& s) { s.weights_bytes = 0; });
  with("window is 0", [](auto& s) { s.window = 0; });
  with("num_window_layers is 19; it must be from 0 to 18",
       [](auto& s) { s.num_window_layers = 19; });
  with("num_shared_layers is 4; it must be from 0 to 3", [](auto& s) { s.num_shared_layers = 4; });
  with("num_state_layers is 4294967295", [](auto& s) { s.num_state_layers = UINT32_MAX; });
  with("state_bytes is", [](auto& s) { s.state_bytes = UINT64_MAX; });
  with("state_bytes is 0", [](auto& s) { s.num_window_layers = 0, s.num_state_layers = 18; });
  with("2^60 bytes", [](auto& s) {
    s.num_layers = s.num_experts = 1 << 16;
    s.embedding_len = 1 << 20;
    s.ffn_len = 1 << 24;
  });
}

TEST(PlanTest, TheLargestShapesSaturate) {
  ModelShape shape = llama(1 << 16, 1, 1, 1 << 20, 1 << 24, 1 << 24);
  shape.weights_bytes = uint64_t{1} << 60;
  PlanOptions options = on_device(uint64_t{1} << 60);
  options.max_model_len = 1 << 24;
  options.max_num_seqs = 4096;
  options.max_num_batched_tokens = 1 << 16;
  options.prefix_len = 1 << 24;
  options.prefix_users = options.paused_sequences = 1 << 30;
  const Plan plan = plan_shape(shape, options);
  EXPECT_EQ(plan.kv_bytes, UINT64_MAX);
  EXPECT_EQ(plan.needed_bytes, UINT64_MAX);
  EXPECT_EQ(plan.prefix_saved_bytes, UINT64_MAX);
  EXPECT_EQ(plan.lower_first, LowerFirst::weights);
}

// ---- the engine ----

struct EngineCase {
  const char* model;
  uint32_t num_sequences, prompt_len, generated_len, page_len, max_batch_tokens;
};
void PrintTo(const EngineCase& wish, std::ostream* out) {
  *out << wish.model << ", " << wish.num_sequences << " of " << wish.prompt_len << " + "
       << wish.generated_len;
}

class PlannedEngineTest : public testing::TestWithParam<EngineCase> {};

// Every session generated what was wished, and is idle.
EngineStats stats_after(const EngineCase& wish, const std::shared_ptr<const LoadedModel>& model,
                        const Plan& plan, uint64_t kv_budget_bytes) {
  EngineOptions options;
  options.max_model_len = plan.max_model_len;
  options.max_sequences = plan.max_num_seqs;
  options.max_batch_tokens = wish.max_batch_tokens;
  options.page_len = plan.page_len;
  options.num_threads = 1;
  options.kv_budget_bytes = kv_budget_bytes;
  const std::shared_ptr<Engine> engine = Engine::create(model, options);
  std::vector<std::shared_ptr<Session>> sessions;
  std::vector<std::shared_ptr<Request>> requests;
  std::mt19937_64 random(test_seed());
  GenerateOptions generate;
  generate.max_tokens = wish.generated_len;
  generate.ignore_eos = true;
  for (uint32_t i = 0; i < wish.num_sequences; ++i) {
    std::vector<TokenId> tokens(wish.prompt_len);
    for (TokenId& token : tokens)
      token = static_cast<TokenId>(random() % model->config().vocab_size);
    sessions.push_back(engine->create_session());
    const Part part = std::span<const TokenId>(tokens);
    sessions.back()->append({&part, 1});
    requests.push_back(sessions.back()->generate(generate, nullptr));
  }
  for (const std::shared_ptr<Request>& request : requests) {
    request->await(std::nullopt);
    EXPECT_EQ(request->usage().finish, Finish::length);
    EXPECT_EQ(request->usage().generated_tokens, wish.generated_len);
  }
  return engine->stats();
}

TEST_P(PlannedEngineTest, TakesWhatWasPlanned) {
  const EngineCase& wish = GetParam();
  const std::shared_ptr<const LoadedModel> model = LoadedModel::open(
      std::string(KVINFER_TEST_DATA) + "/models/tiny/" + wish.model, {});
  PlanOptions planned;
  // The last token generated is not computed.
  planned.max_model_len = wish.prompt_len + wish.generated_len;
  planned.sequence_len = *planned.max_model_len - 1;
  planned.max_num_seqs = wish.num_sequences;
  planned.max_num_batched_tokens = wish.max_batch_tokens;
  planned.block_size = wish.page_len;
  planned.num_threads = 1;
  const uint64_t kv_bytes = plan_model(*model, planned).kv_bytes;
  planned.kv_budget_bytes = kv_bytes;
  planned.must_fit = MustFit::yes;
  const Plan plan = plan_model(*model, planned);
  EXPECT_EQ(plan.max_sequences, wish.num_sequences);

  const EngineStats stats = stats_after(wish, model, plan, plan.kv_budget_bytes);
  EXPECT_EQ(stats.weights_bytes, plan.weights_bytes);
  EXPECT_NEAR(stats.scratch_bytes, plan.scratch_bytes, 0.01 * plan.scratch_bytes);
  EXPECT_LE(stats.kv_peak_bytes, plan.kv_budget_bytes);
  const auto& layers = model->config().layers;
  const bool has_windows = std::any_of(layers.begin(), layers.end(),
                                       [](const auto& layer) { return layer.window > 0; });
  if (!has_windows || wish.num_sequences == 1) {
    EXPECT_NEAR(stats.kv_peak_bytes, plan.kv_bytes, 0.01 * plan.kv_bytes);
  } else {
    // While window layers prefill they are promised more than they keep, and idle sessions give pages up for it, to be
    // computed again. With room to spare all of them keep theirs.
    const EngineStats roomy = stats_after(wish, model, plan, 2 * plan.kv_budget_bytes);
    EXPECT_NEAR(roomy.kv_peak_bytes, plan.kv_bytes, 0.01 * plan.kv_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, PlannedEngineTest,
    testing::Values(EngineCase{"llama-q4_1.gguf", 1, 100, 3, 16, 512},
                    EngineCase{"llama-q4_1.gguf", 16, 120, 20, 16, 64},
                    EngineCase{"llama-q4_1.gguf", 7, 70, 90, 64, 33},
                    EngineCase{"qwen3-f16.gguf", 5, 200, 30, 32, 512},
                    EngineCase{"gemma3-q8_0.gguf", 1, 209, 2, 16, 48},
                    EngineCase{"gemma3-q8_0.gguf", 1, 150, 2, 32, 512},
                    // Several with windows: the plan is for prompts of the whole length, cut
                    // anywhere; what one of them holds more than these counts little among many.
                    EngineCase{"gemma3-q8_0.gguf", 150, 128, 2, 16, 64},
                    EngineCase{"gemma3-q8_0.gguf", 200, 240, 2, 16, 128},
                    EngineCase{"gemma3-q4_k_m.gguf", 250, 254, 4, 32, 256}));

}  // namespace
}  // namespace kvi
