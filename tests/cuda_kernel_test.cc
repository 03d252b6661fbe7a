// Every CUDA kernel against a reference in double precision: uneven shapes, random inputs, poisoned outputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "backend/cuda/cuda_matrix.h"
#include "cuda/attention.h"
#include "cuda/linear.h"
#include "cuda/rows.h"
#include "support/cuda_kernel_fixture.h"
#include "support/random_matrix.h"

namespace kvi::cuda {
namespace {

constexpr DType kWeightTypes[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q4_0, DType::Q4_1,
                                  DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::Q2_K, DType::Q3_K,
                                  DType::Q4_K, DType::Q5_K, DType::Q6_K};
Kernel linear_of(DType dtype) {
  switch (format_of(dtype)) {
#define KVI_LINEAR_OF(name) \
  case Format::name: return Kernel::linear_##name;
    KVI_CUDA_FORMATS(KVI_LINEAR_OF)
#undef KVI_LINEAR_OF
  }
  return Kernel::linear_f32;
}

TEST_F(CudaKernelTest, ProductsOfEveryFormatAreExactToF32) {
  for (DType dtype : kWeightTypes) {
    const int block = dtype_info(dtype).block_len;
    for (auto [rows, cols, num_tokens] : {std::tuple{1, block, 1},
                                          {13, 3 * block, 7},
                                          {64, 5 * block, 8},
                                          {9, 2 * block, 9},
                                          {131, block == 1 ? 77 : 4 * block, 19},
                                          {8, block == 1 ? 1003 : 3 * block, 1}}) {
      const RandomMatrix matrix(dtype, rows, cols, random_);
      const CudaMatrix weight(device_, matrix.source());
      const std::vector<float> x = random_values(num_tokens * cols), bias = random_values(rows);
      const std::vector<float> before = random_values(num_tokens * rows);
      for (const bool adds : {false, true}) {
        const auto x_there = upload(x), bias_there = upload(bias);
        const auto out = adds ? upload(before) : poisoned(num_tokens * rows);
        const MatrixView view = weight.view();
        kernels_->launch(
            linear_of(dtype),
            {groups(rows, kLinearRows), groups(num_tokens, kLinearTokens), kLinearThreads},
            LinearParams{view, adds ? nullptr : bias_there.data(), x_there.data(), out.data(), rows,
                         cols, num_tokens, adds});
        const std::vector<float> found = download(out);
        double difference = 0, largest_bound = 0;
        for (int t = 0; t < num_tokens; ++t) {
          for (int n = 0; n < rows; ++n) {
            const std::vector<float> w = matrix.row(n);
            double sum = adds ? before[t * rows + n] : bias[n], magnitude = std::abs(sum);
            for (int k = 0; k < cols; ++k) {
              sum += double{w[k]} * x[t * cols + k];
              magnitude += std::abs(double{w[k]} * x[t * cols + k]);
            }
            difference = std::max(difference,
                                  std::abs(found[t * rows + n] - sum) / (magnitude + 1e-30));
            largest_bound = std::max(largest_bound, magnitude);
          }
        }
        EXPECT_LT(difference, 2e-6)
            << dtype_name(dtype) << " " << rows << "x" << cols << ", " << num_tokens << " tokens";
      }
    }
  }
}

TEST_F(CudaKernelTest, AProductHasTheSameBitsAmongAnyNumberOfTokens) {
  for (DType dtype : {DType::BF16, DType::Q8_0, DType::Q4_K}) {
    const RandomMatrix matrix(dtype, 37, 768, random_);
    const CudaMatrix weight(device_, matrix.source());
    const MatrixView view = weight.view();
    const std::vector<float> x = random_values(33 * 768);
    const auto x_there = upload(x);
    const auto run = [&](int num_tokens) {
      const auto out = poisoned(num_tokens * 37);
      kernels_->launch(
          linear_of(dtype),
          {groups(37, kLinearRows), groups(num_tokens, kLinearTokens), kLinearThreads},
          LinearParams{view, nullptr, x_there.data(), out.data(), 37, 768, num_tokens, 0});
      return download(out);
    };
    const std::vector<float> all = run(33);
    for (int num_tokens : {1, 2, 8, 9, 32}) {
      const std::vector<float> some = run(num_tokens);
      EXPECT_EQ(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)), 0)
          << dtype_name(dtype) << " " << num_tokens;
    }
  }
}

TEST_F(CudaKernelTest, EmbeddedRowsAreBitwiseTheFiles) {
  for (DType dtype : kWeightTypes) {
    const int len = dtype_info(dtype).block_len == 1 ? 77 : 3 * dtype_info(dtype).block_len;
    const RandomMatrix tokens(dtype, 11, len, random_), learned(DType::F32, 30, len, random_);
    const CudaMatrix tokens_there(device_, tokens.source()),
        learned_there(device_, learned.source());
    const std::vector<int32_t> ids = {3, 0, 10, 3, 7}, positions = {29, 0, 5, 6, 1};
    const auto ids_there = upload(ids), positions_there = upload(positions);
    for (const bool has_positions : {false, true}) {
      const auto out = poisoned(ids.size() * len);
      kernels_->launch(
          Kernel::embed, {static_cast<uint32_t>(ids.size()), 1, kRowThreads},
          EmbedParams{tokens_there.view(), has_positions ? learned_there.view() : MatrixView{},
                      ids_there.data(), positions_there.data(), out.data(), len, 2.5f});
      const std::vector<float> found = download(out);
      for (size_t row = 0; row < ids.size(); ++row) {
        const std::vector<float> token = tokens.row(ids[row]), add = learned.row(positions[row]);
        for (int i = 0; i < len; ++i) {
          float expected = token[i] * 2.5f;
          if (has_positions) expected += add[i];
          ASSERT_EQ(found[row * len + i], expected) << dtype_name(dtype) << " " << i;
        }
      }
    }
  }
}

TEST_F(CudaKernelTest, NormsOfAnyLengthAreNearTheirDefinition) {
  for (const NormForm form : {NormForm::none, NormForm::rms, NormForm::layer}) {
    for (int len : {1, 7, 64, 255, 257, 3001}) {
      const int num_rows = 5;
      const std::vector<float> x = random_values(num_rows * len, 1, 0.5f);
      const std::vector<float> weight = random_values(len, 0.3f, 1), bias = random_values(len);
      const std::vector<float> before = random_values(num_rows * len);
      const std::vector<int32_t> rows = {4, 0, 0, 3, 1};
      const auto x_there = upload(x), weight_there = upload(weight), bias_there = upload(bias);
      const auto rows_there = upload(rows);
      for (const bool adds : {false, true}) {
        for (const bool picks : {false, true}) {
          const auto out = adds ? upload(before) : poisoned(num_rows * len);
          kernels_->launch(
              Kernel::norm_rows, {num_rows, 1, kRowThreads},
              NormParams{{form, 1e-5f, weight_there.data(),
                          form == NormForm::layer && picks ? bias_there.data() : nullptr},
                         x_there.data(),
                         picks ? rows_there.data() : nullptr,
                         out.data(),
                         len,
                         adds});
          std::vector<double> exact;
          for (int row = 0; row < num_rows; ++row) {
            const float* from = &x[(picks ? rows[row] : row) * len];
            double mean = 0, squares = 0;
            if (form == NormForm::layer) {
              for (int i = 0; i < len; ++i) mean += double{from[i]} / len;
            }
            for (int i = 0; i < len; ++i) squares += (from[i] - mean) * (from[i] - mean) / len;
            for (int i = 0; i < len; ++i) {
              double value = form == NormForm::none
                                 ? from[i]
                                 : (from[i] - mean) / std::sqrt(squares + 1e-5) * weight[i];
              if (form == NormForm::layer && picks) value += bias[i];
              exact.push_back(adds ? value + before[row * len + i] : value);
            }
          }
          // Of one value the difference from its mean is nothing: all that is left is rounding.
          const double tolerance = len == 1 && form == NormForm::layer ? 1e-3 : 2e-6;
          EXPECT_LT(error_of(download(out), exact), tolerance) << "length " << len;
        }
      }
    }
  }
}

TEST_F(CudaKernelTest, ActivationsAndSoftcapsAreNearTheirDefinition) {
  const std::vector<float> gate = random_values(1237, 4), up = random_values(1237);
  const auto gate_there = upload(gate), up_there = upload(up);
  for (const bool gelu : {false, true}) {
    for (const bool is_gated : {false, true}) {
      const auto out = poisoned(gate.size());
      kernels_->launch(Kernel::activate, {groups(1237, kRowThreads), 1, kRowThreads},
                       ActivateParams{is_gated ? gate_there.data() : nullptr, up_there.data(),
                                      out.data(), 1237, gelu});
      std::vector<double> exact;
      for (size_t i = 0; i < gate.size(); ++i) {
        const double g = is_gated ? gate[i] : up[i];
        const double active = gelu ? 0.5 * g *
                                         (1 + std::tanh(std::sqrt(2 / M_PI) *
                                                        (g + 0.044715 * g * g * g)))
                                   : g / (1 + std::exp(-g));
        exact.push_back(is_gated ? active * up[i] : active);
      }
      EXPECT_LT(error_of(download(out), exact), 1e-6);
    }
  }
  const auto capped = upload(gate);
  kernels_->launch(Kernel::softcap, {groups(1237, kRowThreads), 1, kRowThreads},
                   SoftcapParams{capped.data(), 1237, 3});
  std::vector<double> exact;
  for (float value : gate) exact.push_back(3 * std::tanh(value / 3.0));
  EXPECT_LT(error_of(download(capped), exact), 1e-6);
}

TEST_F(CudaPagedKernelTest, HeadsAreNormedRotatedAndRoundedIntoTheirSlotsOnly) {
  for (DType dtype : kKvTypes) {
    for (auto [head_dim, rotary_dim, interleaved] :
         {std::tuple{16, 16, 1}, {24, 12, 0}, {80, 0, 0}, {256, 256, 0}, {130, 64, 1}}) {
      for (const NormForm form : {NormForm::none, NormForm::rms, NormForm::layer}) {
        PagedCase c;
        c.dtype = dtype, c.head_dim = head_dim, c.num_heads = 6, c.num_kv_heads = 3;
        Setup s = set_up(c);
        const int rows = static_cast<int>(s.positions.size());
        const std::vector<float> queries = random_values(rows * 6 * head_dim);
        const std::vector<float> keys = random_values(rows * 3 * head_dim);
        const std::vector<float> values = random_values(rows * 3 * head_dim);
        const std::vector<float> weight = random_values(head_dim, 0.2f, 1),
                                 bias = random_values(head_dim);
        AnglesParams angles = {};
        for (int i = 0; i < rotary_dim / 2; ++i) {
          angles.inverse_frequencies[i] = std::pow(10000.0, -2.0 * i / rotary_dim);
        }
        const auto positions = upload(s.positions), sequence = upload(s.sequence);
        const auto pages = upload(s.pages);
        const auto first = upload(s.first);
        const auto memory = upload(s.memory);
        const auto queries_there = upload(queries), keys_there = upload(keys);
        const auto values_there = upload(values), weight_there = upload(weight);
        const auto bias_there = upload(bias);
        const auto angles_there = poisoned(std::max(1, rows * rotary_dim));
        angles.positions = positions.data();
        angles.angles = angles_there.data();
        angles.num_rows = rows;
        angles.half = rotary_dim / 2;
        angles.factor = 1.25f;
        kernels_->launch(Kernel::rotary_angles,
                         {groups(rows * rotary_dim / 2, kRowThreads), 1, kRowThreads}, angles);
        const Plane& key = s.layout.plane(1, PlaneRole::key);
        const Plane& value = s.layout.plane(1, PlaneRole::value);
        const NormWeights norm = {form, 1e-6f, weight_there.data(), bias_there.data()};
        kernels_->launch(Kernel::finish_heads,
                         {static_cast<uint32_t>(rows), 6 + 2 * 3, kHeadThreads,
                          static_cast<uint32_t>(head_dim * sizeof(float))},
                         FinishHeadsParams{queries_there.data(),
                                           keys_there.data(),
                                           values_there.data(),
                                           6,
                                           3,
                                           head_dim,
                                           norm,
                                           norm,
                                           rotary_dim > 0 ? angles_there.data() : nullptr,
                                           rotary_dim,
                                           interleaved,
                                           positions.data(),
                                           {pages.data(), first.data(), sequence.data()},
                                           reinterpret_cast<uint8_t*>(memory.data()),
                                           s.layout.page_bytes,
                                           shift(s.layout),
                                           place(key),
                                           place(value),
                                           format_of(dtype)});
        const std::vector<float> queries_found = download(queries_there);
        std::vector<std::byte> memory_found = download(memory);
        const auto finish = [&](const float* x, int position) {
          std::vector<double> head(x, x + head_dim);
          double mean = 0, squares = 0;
          if (form == NormForm::layer) {
            for (double v : head) mean += v / head_dim;
          }
          for (double v : head) squares += (v - mean) * (v - mean) / head_dim;
          for (int i = 0; i < head_dim && form != NormForm::none; ++i) {
            head[i] = (head[i] - mean) / std::sqrt(squares + 1e-6) * weight[i];
            if (form == NormForm::layer) head[i] += bias[i];
          }
          for (int i = 0; i < rotary_dim / 2; ++i) {
            double& a = head[interleaved ? 2 * i : i];
            double& b = head[interleaved ? 2 * i + 1 : i + rotary_dim / 2];
            const double angle = position * angles.inverse_frequencies[i];
            const double turned = 1.25 * (a * std::cos(angle) - b * std::sin(angle));
            b = 1.25 * (b * std::cos(angle) + a * std::sin(angle));
            a = turned;
          }
          return head;
        };
        // A value near the middle of two of 16 bits may be rounded to either.
        const double step = dtype == DType::F32 ? 0 : dtype == DType::F16 ? 0x1p-10 : 0x1p-7;
        for (int row = 0; row < rows; ++row) {
          for (int h = 0; h < 6; ++h) {
            const std::vector<double> exact = finish(&queries[(row * 6 + h) * head_dim],
                                                     s.positions[row]);
            const std::vector<float> found(&queries_found[(row * 6 + h) * head_dim],
                                           &queries_found[(row * 6 + h) * head_dim] + head_dim);
            ASSERT_LT(error_of(found, exact), 4e-6) << "row " << row << " head " << h;
          }
          for (int h = 0; h < 3; ++h) {
            const std::vector<double> exact_key = finish(&keys[(row * 3 + h) * head_dim],
                                                         s.positions[row]);
            for (int i = 0; i < head_dim; ++i) {
              const std::byte* at = memory_found.data() +
                                    (s.slot(key, s.sequence[row], s.positions[row], h) -
                                     s.memory.data()) +
                                    i * row_bytes(dtype, 1);
              ASSERT_NEAR(decode(dtype, at), exact_key[i], step * std::abs(exact_key[i]) + 1e-5);
              at += value.offset - key.offset;
              ASSERT_EQ(decode(dtype, at), rounded(dtype, values[(row * 3 + h) * head_dim + i]));
            }
            // Back to what it was: what is left must be untouched.
            for (const Plane* plane : {&key, &value}) {
              std::memset(
                  memory_found.data() +
                      (s.slot(*plane, s.sequence[row], s.positions[row], h) - s.memory.data()),
                  0xff, head_dim * row_bytes(dtype, 1));
            }
          }
        }
        EXPECT_EQ(memory_found, s.memory) << "something else was written";
      }
    }
  }
}

TEST_F(CudaPagedKernelTest, AttentionOfAnyShapeIsNearItsDefinition) {
  std::vector<PagedCase> cases;
  for (DType dtype : kKvTypes) {
    for (auto [heads, kv_heads, head_dim] : {std::tuple{4, 2, 16},
                                             {6, 2, 24},
                                             {5, 1, 80},
                                             {8, 8, 64},
                                             {4, 1, 256},
                                             {3, 3, 130},
                                             {2, 1, 512}}) {
      for (int window : {0, 20, 1}) {
        for (float softcap : {0.0f, 3.0f}) {
          PagedCase c;
          c.dtype = dtype, c.num_heads = heads, c.num_kv_heads = kv_heads, c.head_dim = head_dim;
          c.window = window, c.softcap = softcap;
          c.page_len = heads == 6 ? 32 : 16;
          cases.push_back(c);
        }
      }
    }
  }
  PagedCase long_one;
  long_one.positions = {{4095}, {2047, 2048}, {0}};
  cases.push_back(long_one);
  for (const PagedCase& c : cases) {
    Setup s = set_up(c);
    const Plane& key = s.layout.plane(1, PlaneRole::key);
    const Plane& value = s.layout.plane(1, PlaneRole::value);
    const int rows = static_cast<int>(s.positions.size());
    // Only what some row may see is filled; the rest stays NaN.
    for (size_t q = 0; q < c.positions.size(); ++q) {
      const int first = c.window > 0 ? std::max(0, c.positions[q].front() + 1 - c.window) : 0;
      for (int position = first; position <= c.positions[q].back(); ++position) {
        for (int h = 0; h < c.num_kv_heads; ++h) {
          for (const Plane* plane : {&key, &value}) {
            const std::vector<float> values = random_values(c.head_dim);
            std::byte* at = s.slot(*plane, static_cast<int>(q), position, h);
            for (int i = 0; i < c.head_dim; ++i) {
              encode(c.dtype, values[i], at + i * row_bytes(c.dtype, 1));
            }
          }
        }
      }
    }
    const std::vector<float> queries = random_values(rows * c.num_heads * c.head_dim);
    const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    const auto positions = upload(s.positions), sequence = upload(s.sequence);
    const auto pages = upload(s.pages);
    const auto first = upload(s.first);
    const auto memory = upload(s.memory);
    const auto queries_there = upload(queries);
    const auto out = poisoned(queries.size());
    AttentionParams params = {};
    params.queries = queries_there.data();
    params.out = out.data();
    params.positions = positions.data();
    params.num_heads = c.num_heads;
    params.num_kv_heads = c.num_kv_heads;
    params.head_dim = c.head_dim;
    params.softmax_scale = scale;
    params.softcap = c.softcap;
    params.num_segments = 1;
    params.segments[0] = {reinterpret_cast<const uint8_t*>(memory.data()),
                          s.layout.page_bytes,
                          {pages.data(), first.data(), sequence.data()},
                          place(key),
                          place(value),
                          shift(s.layout),
                          c.window};
    kernels_->launch(c.dtype == DType::F32   ? Kernel::attention_f32
                     : c.dtype == DType::F16 ? Kernel::attention_f16
                                             : Kernel::attention_bf16,
                     {static_cast<uint32_t>(rows), static_cast<uint32_t>(c.num_heads),
                      kAttentionThreads, static_cast<uint32_t>(attention_shared_bytes(c.head_dim))},
                     params);
    std::vector<double> exact;
    for (int row = 0; row < rows; ++row) {
      for (int h = 0; h < c.num_heads; ++h) {
        const float* query = &queries[(row * c.num_heads + h) * c.head_dim];
        const int kv_head = h / (c.num_heads / c.num_kv_heads);
        const int position = s.positions[row];
        std::vector<double> attended(c.head_dim);
        double sum = 0;
        for (int j = c.window > 0 ? std::max(0, position + 1 - c.window) : 0; j <= position; ++j) {
          const std::byte* k = s.slot(key, s.sequence[row], j, kv_head);
          const std::byte* v = s.slot(value, s.sequence[row], j, kv_head);
          double score = 0;
          for (int d = 0; d < c.head_dim; ++d) {
            score += double{query[d]} * decode(c.dtype, k + d * row_bytes(c.dtype, 1));
          }
          score *= scale;
          if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
          sum += std::exp(score);
          for (int d = 0; d < c.head_dim; ++d) {
            attended[d] += std::exp(score) * decode(c.dtype, v + d * row_bytes(c.dtype, 1));
          }
        }
        for (double value_of_head : attended) exact.push_back(value_of_head / sum);
      }
    }
    EXPECT_LT(error_of(download(out), exact), 3e-6)
        << dtype_name(c.dtype) << " " << c.num_heads << "/" << c.num_kv_heads << "x" << c.head_dim
        << " window " << c.window << " softcap " << c.softcap;
  }
  std::printf("%zu shapes\n", cases.size());
}

}  // namespace
}  // namespace kvi::cuda
