// The fast attention and what prepares its heads: against definitions in double precision and the plain kernels.
#include <gtest/gtest.h>

#include <numeric>
#include <span>
#include <tuple>

#include "backend/cuda/attention.h"
#include "backend/cuda/cuda_matrix.h"
#include "cuda/heads.h"
#include "support/cuda_kernel_fixture.h"

namespace kvi::cuda {
namespace {

constexpr DType kHalfTypes[] = {DType::F16, DType::BF16};

std::vector<int> positions_from(int first, int count) {
  std::vector<int> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

uint16_t half_of(DType dtype, float value) {
  return dtype == DType::F16 ? f32_to_f16(value) : f32_to_bf16(value);
}
double value_of(DType dtype, uint16_t half) {
  return dtype == DType::F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

class CudaAttentionTest : public CudaPagedKernelTest {
 protected:
  // Fills what some row may see; the rest stays NaN.
  void fill(const PagedCase& c, Setup& s) {
    for (size_t q = 0; q < c.positions.size(); ++q) {
      const int first = c.window > 0 ? std::max(0, c.positions[q].front() + 1 - c.window) : 0;
      for (int position = first; position <= c.positions[q].back(); ++position) {
        for (int h = 0; h < c.num_kv_heads; ++h) {
          for (const PlaneRole role : {PlaneRole::key, PlaneRole::value}) {
            std::byte* at = s.slot(s.layout.plane(1, role), static_cast<int>(q), position, h);
            for (float value : random_values(static_cast<size_t>(c.head_dim))) {
              encode(c.dtype, value, at);
              at += 2;
            }
          }
        }
      }
    }
  }

  std::vector<double> exact(const PagedCase& c, Setup& s, const std::vector<uint16_t>& queries) {
    const Plane &key = s.layout.plane(1, PlaneRole::key),
                &value = s.layout.plane(1, PlaneRole::value);
    const double scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
    std::vector<double> result;
    for (size_t row = 0; row < s.positions.size(); ++row) {
      for (int h = 0; h < c.num_heads; ++h) {
        const uint16_t* query =
            &queries[(row * static_cast<size_t>(c.num_heads) + static_cast<size_t>(h)) *
                     static_cast<size_t>(c.head_dim)];
        const int kv_head = h / (c.num_heads / c.num_kv_heads), position = s.positions[row];
        std::vector<double> attended(static_cast<size_t>(c.head_dim));
        double sum = 0;
        for (int j = c.window > 0 ? std::max(0, position + 1 - c.window) : 0; j <= position; ++j) {
          const auto read = [&](const Plane& plane, int d) {
            uint16_t half;
            std::memcpy(&half, s.slot(plane, s.sequence[row], j, kv_head) + 2 * d, 2);
            return value_of(c.dtype, half);
          };
          double score = 0;
          for (int d = 0; d < c.head_dim; ++d) score += value_of(c.dtype, query[d]) * read(key, d);
          score *= scale;
          if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
          sum += std::exp(score);
          for (int d = 0; d < c.head_dim; ++d) {
            attended[static_cast<size_t>(d)] += std::exp(score) * read(value, d);
          }
        }
        for (double x : attended) result.push_back(x / sum);
      }
    }
    return result;
  }

  void expect_near_definition(const PagedCase& c) {
    Setup s = set_up(c);
    fill(c, s);
    std::vector<SequenceRows> sequences;
    int row = 0;
    for (const std::vector<int>& positions : c.positions) {
      sequences.push_back({row, static_cast<int>(positions.size()), positions.front()});
      row += static_cast<int>(positions.size());
    }
    std::vector<uint16_t> queries;
    for (float value : random_values(static_cast<size_t>(row * c.num_heads * c.head_dim))) {
      queries.push_back(half_of(c.dtype, value));
    }
    const auto sequence = upload(s.sequence);
    const auto pages = upload(s.pages);
    const auto first = upload(s.first);
    const auto memory = upload(s.memory);
    const auto queries_there = upload(queries);

    ExecutorShape shape;
    shape.max_rows = row + 5;
    shape.max_sequences = static_cast<int>(sequences.size()) + 2;
    shape.max_context = 8192;
    Launcher launcher(kernels_);
    FastAttention attention(device_, launcher, shape);
    AttentionWeights weights;
    weights.num_heads = c.num_heads;
    weights.num_kv_heads = c.num_kv_heads;
    weights.head_dim = c.head_dim;
    weights.softmax_scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    weights.logit_softcap = c.softcap;
    KvSegment segment;
    segment.layout = &s.layout;
    segment.key = &s.layout.plane(1, PlaneRole::key);
    segment.value = &s.layout.plane(1, PlaneRole::value);
    segment.pages = memory.data();
    segment.window = c.window;
    ASSERT_TRUE(attention.serves(weights, {&segment, 1}));
    const BatchRows batch = {row, sequences, s.positions};
    const std::vector<double> expected = exact(c, s, queries);
    std::vector<uint16_t> found, again;
    for (const int spare : {0, 2}) {  // a graph's grid may be larger than the step
      attention.begin_step(batch, row + spare, static_cast<int>(sequences.size()) + spare);
      attention.prepare(weights, segment);
      const auto out = upload(std::vector<uint16_t>(queries.size(), 0xffff));
      attention.launch(weights, segment, {pages.data(), first.data(), sequence.data()},
                       queries_there.data(), out.data(), format_of(c.dtype));
      (spare == 0 ? found : again) = download(out);
    }
    EXPECT_EQ(found, again) << "not reproducible";
    double difference = 0, largest = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double value = value_of(c.dtype, found[i]);
      difference = std::isfinite(value) ? std::max(difference, std::abs(value - expected[i]))
                                        : INFINITY;
      if (!std::isfinite(difference)) break;
      largest = std::max(largest, std::abs(expected[i]));
    }
    // Softmax weights and the result are rounded to 16 bits.
    EXPECT_LT(difference / largest, c.dtype == DType::F16 ? 2e-3 : 1.6e-2)
        << dtype_name(c.dtype) << " " << c.num_heads << "/" << c.num_kv_heads << "x" << c.head_dim
        << " window " << c.window << " softcap " << c.softcap << " pages of " << c.page_len;
  }
};

TEST_F(CudaAttentionTest, FewAndManyRowsAreNearTheDefinition) {
  for (DType dtype : kHalfTypes) {
    for (const int head_dim : {64, 96, 128, 256}) {
      for (auto [heads, kv_heads, page_len] :
           {std::tuple{8, 2, 16}, {3, 1, 32}, {2, 2, 16}, {20, 1, 128}}) {
        for (const int window : {0, 50}) {
          PagedCase c;
          c.dtype = dtype, c.head_dim = head_dim, c.num_heads = heads, c.num_kv_heads = kv_heads;
          c.page_len = page_len, c.window = window, c.softcap = heads == 3 ? 5.0f : 0.0f;
          c.positions = {{0}, positions_from(30, 70), {300}, positions_from(70, 3), {15}, {16}};
          expect_near_definition(c);
        }
      }
    }
  }
}

TEST_F(CudaAttentionTest, SplitsOfLongSequencesAreMerged) {
  for (DType dtype : kHalfTypes) {
    PagedCase c;
    c.dtype = dtype, c.head_dim = 128, c.num_heads = 8, c.num_kv_heads = 2;
    c.positions = {{4000}, positions_from(2500, 3)};
    expect_near_definition(c);
    c.window = 1500;
    expect_near_definition(c);
  }
}

TEST_F(CudaAttentionTest, HeadsAreThoseOfThePlainKernelRoundedOnce) {
  for (DType dtype : kHalfTypes) {
    for (auto [head_dim, rotary_dim, interleaved] : {std::tuple{16, 16, 1},
                                                     {64, 64, 0},
                                                     {80, 0, 0},
                                                     {96, 48, 0},
                                                     {128, 128, 0},
                                                     {128, 64, 1},
                                                     {256, 256, 0}}) {
      for (const NormForm form : {NormForm::none, NormForm::rms, NormForm::layer}) {
        PagedCase c;
        c.dtype = dtype, c.head_dim = head_dim, c.num_heads = 6, c.num_kv_heads = 3;
        Setup s = set_up(c);
        const int rows = static_cast<int>(s.positions.size()), width = 12 * head_dim;
        const auto size = [](int count) { return static_cast<size_t>(count); };
        const std::vector<float> heads = random_values(size(rows * width));
        std::vector<float> queries, keys, values;
        for (int row = 0; row < rows; ++row) {
          const float* from = &heads[size(row * width)];
          queries.insert(queries.end(), from, from + 6 * head_dim);
          keys.insert(keys.end(), from + 6 * head_dim, from + 9 * head_dim);
          values.insert(values.end(), from + 9 * head_dim, from + width);
        }
        const auto positions = upload(s.positions), sequence = upload(s.sequence);
        const auto pages = upload(s.pages);
        const auto first = upload(s.first);
        const auto memory = upload(s.memory), plain_memory = upload(s.memory);
        const auto heads_there = upload(heads), queries_there = upload(queries);
        const auto keys_there = upload(keys), values_there = upload(values);
        const auto weight = upload(random_values(size(head_dim), 0.2f, 1));
        const auto bias = upload(random_values(size(head_dim)));
        const auto angles = upload(random_values(size(std::max(1, rows * rotary_dim))));
        const auto rounded_queries = upload(std::vector<uint16_t>(queries.size(), 0xffff));
        const NormWeights norm = {form, 1e-6f, weight.data(), bias.data()};
        const int heads_of_warp = form == NormForm::none ? 1 : 5;
        const float* turns = rotary_dim > 0 ? angles.data() : nullptr;
        const PageTables tables = {pages.data(), first.data(), sequence.data()};
        const PagePlane key = place(s.layout.plane(1, PlaneRole::key));
        const PagePlane value = place(s.layout.plane(1, PlaneRole::value));
        kernels_->launch(Kernel::finish_heads,
                         {static_cast<uint32_t>(rows), 12, kHeadThreads,
                          static_cast<uint32_t>(head_dim * sizeof(float))},
                         FinishHeadsParams{
                             queries_there.data(), keys_there.data(), values_there.data(), 6, 3,
                             head_dim, norm, norm, turns, rotary_dim, interleaved, positions.data(),
                             tables, reinterpret_cast<uint8_t*>(plain_memory.data()),
                             s.layout.page_bytes, shift(s.layout), key, value, format_of(dtype)});
        kernels_->launch(
            head_dim <= 128 ? Kernel::store_heads_128 : Kernel::store_heads_256,
            {groups(12, kFinishWarps * heads_of_warp), static_cast<uint32_t>(rows), kFinishThreads},
            StoreHeadsParams{heads_there.data(),
                             heads_there.data() + 6 * head_dim,
                             heads_there.data() + 9 * head_dim,
                             width,
                             width,
                             width,
                             rounded_queries.data(),
                             heads_of_warp,
                             rows,
                             6,
                             3,
                             head_dim,
                             norm,
                             norm,
                             turns,
                             rotary_dim,
                             interleaved,
                             positions.data(),
                             tables,
                             reinterpret_cast<uint8_t*>(memory.data()),
                             s.layout.page_bytes,
                             shift(s.layout),
                             key,
                             value,
                             format_of(dtype)});
        // Sums in another order may round to the neighbour.
        const double step = dtype == DType::F16 ? 0x1p-10 : 0x1p-7;
        const std::vector<float> plain_queries = download(queries_there);
        const std::vector<uint16_t> found = download(rounded_queries);
        for (size_t i = 0; i < found.size(); ++i) {
          ASSERT_NEAR(value_of(dtype, found[i]), plain_queries[i],
                      step * std::abs(plain_queries[i]) + 1e-5);
        }
        const std::vector<std::byte> bytes = download(memory), plain = download(plain_memory);
        for (size_t i = 0; i < bytes.size(); i += 2) {
          uint16_t ours, theirs;
          std::memcpy(&ours, &bytes[i], 2);
          std::memcpy(&theirs, &plain[i], 2);
          if (ours == theirs) continue;
          const double x = value_of(dtype, theirs);
          ASSERT_NEAR(value_of(dtype, ours), x, step * std::abs(x) + 1e-5) << "byte " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvi::cuda
