// Speed of the CPU backend's matrix products, against the machine's read bandwidth and dot product rate.
//
//   linear_bench [--threads N] [--isa NAME] [--seconds S] [--weights memory|cache] [WHAT]
//
// Every product is first compared with a double-precision one. Weights are rotated through more copies
// than the caches hold, so that they come from memory. Times are the least of several rounds: other work
// on the machine only ever adds.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/linear.h"
#include "base/os_cpu.h"
#include "support/random_matrix.h"

namespace kvi::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The least time of one call of run, over rounds that fill `seconds`.
template <typename Run>
double least_seconds(double seconds, const Run& run) {
  run();
  double least = 1e9;
  for (const auto start = Clock::now(); seconds_since(start) < seconds;) {
    const auto begin = Clock::now();
    run();
    least = std::min(least, seconds_since(begin));
  }
  return least;
}

struct Options {
  int num_threads = default_num_threads();
  Isa isa = best_isa();
  double seconds = 0.3;  // per measurement
  bool from_cache = false;
};

constexpr int64_t kBeyondCaches = int64_t{96} << 20;

// Bytes a second that all threads together read from memory.
double read_bandwidth(ThreadPool& pool, double seconds) {
  const int64_t num_words = kBeyondCaches / 8;
  std::vector<uint64_t> words(num_words, 1);
  constexpr int64_t kPiece = 1 << 15;  // 256 KiB
  std::vector<uint64_t> sums(num_words / kPiece);
  const double least = least_seconds(seconds, [&] {
    pool.run(num_words / kPiece, [&](int64_t piece, int) {
      const uint64_t* at = words.data() + piece * kPiece;
      uint64_t sum[16] = {};
      for (int64_t i = 0; i < kPiece; i += 16) {
        for (int j = 0; j < 16; ++j) sum[j] += at[i + j];
      }
      for (uint64_t s : sum) sums[piece] += s;
    });
  });
  return static_cast<double>(kBeyondCaches) / least;
}

#if defined(__x86_64__)
constexpr int kPeakSteps = 1 << 16, kPeakChains = 12;

// Chains of dot products, and of multiply-adds, that wait for nothing but the unit that does them.
__attribute__((target("avx512f,avx512vnni"))) int dot_chains() {
  __m512i sums[kPeakChains] = {};
  const __m512i codes = _mm512_set1_epi8(3);
  for (int step = 0; step < kPeakSteps; ++step) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(codes));
  }
  __m512i total = codes;
#pragma GCC unroll 12
  for (const __m512i& sum : sums) total = _mm512_add_epi32(total, sum);
  return _mm512_cvtsi512_si32(total);
}
__attribute__((target("avx512f"))) float fma_chains() {
  __m512 sums[kPeakChains] = {};
  const __m512 values = _mm512_set1_ps(1e-3f);
  for (int step = 0; step < kPeakSteps; ++step) {
#pragma GCC unroll 12
    for (__m512& sum : sums) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(values));
  }
  __m512 total = values;
#pragma GCC unroll 12
  for (const __m512& sum : sums) total = _mm512_add_ps(total, sum);
  return _mm512_cvtss_f32(total);
}

void print_peak_rates(ThreadPool& pool, int num_threads) {
  const auto operations_per_second = [&](int per_instruction, const auto& chains) {
    const double least = least_seconds(
        0.5, [&] { pool.run(num_threads, [&](int64_t, int) { static_cast<void>(chains()); }); });
    return 1.0 * kPeakSteps * kPeakChains * per_instruction * num_threads / least;
  };
  std::printf("peak: VPDPBUSD %.0f GOP/s, VFMADD231PS %.0f GFLOP/s\n",
              operations_per_second(128, dot_chains) * 1e-9,
              operations_per_second(32, fma_chains) * 1e-9);
}
#endif

std::vector<float> random_inputs(int64_t n, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> inputs(n);
  for (float& value : inputs) value = normal(random);
  return inputs;
}

// Ends the program when a product is wrong: a wrong kernel has no speed.
void verify(const RandomMatrix& matrix, const std::vector<float>& inputs, int num_rows,
            const std::vector<float>& outputs) {
  for (int64_t n = 0; n < matrix.rows(); n += 1 + matrix.rows() / 61) {
    const std::vector<float> weights = matrix.row(n);
    for (int m = 0; m < num_rows; ++m) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < matrix.cols(); ++k) {
        sum += double{weights[k]} * inputs[m * matrix.cols() + k];
        magnitude += std::fabs(double{weights[k]} * inputs[m * matrix.cols() + k]);
      }
      if (!(std::fabs(outputs[m * matrix.rows() + n] - sum) <= 0.01 * magnitude)) {
        std::fprintf(stderr, "wrong product of %s, row %d, output %lld: %g, not %g\n",
                     dtype_name(matrix.dtype()), m, static_cast<long long>(n),
                     outputs[m * matrix.rows() + n], sum);
        std::exit(1);
      }
    }
  }
}

// Products with all copies in turn, so that weights come from memory; summed over runs of copies short
// enough that some round of each was not disturbed.
template <typename Multiply>
double seconds_per_product(const Options& options,
                           const std::vector<std::unique_ptr<Matrix>>& copies, int num_rows,
                           const Multiply& multiply) {
  constexpr uint64_t kRunBytes = uint64_t{4} << 20;
  const size_t run_len = std::max<size_t>(
      1, kRunBytes / copies[0]->size_bytes() / static_cast<unsigned>(num_rows));
  std::vector<double> least((copies.size() + run_len - 1) / run_len, 1e9);
  const auto start = Clock::now();
  do {
    for (size_t first = 0; first < copies.size(); first += run_len) {
      const auto begin = Clock::now();
      const size_t last = std::min(first + run_len, copies.size());
      for (size_t i = first; i < last; ++i) multiply(*copies[i]);
      double& run = least[first / run_len];
      run = std::min(run, seconds_since(begin));
    }
  } while (seconds_since(start) < options.seconds);
  double sum = 0;
  for (double run : least) sum += run;
  return sum / static_cast<double>(copies.size());
}

void measure(ThreadPool& pool, const Options& options, Precision precision, DType dtype,
             int64_t rows, int64_t cols, std::initializer_list<int> row_counts, double bandwidth) {
  std::mt19937_64 random(7);
  const RandomMatrix matrix(dtype, rows, cols, random);
  WeightMemory memory;
  std::vector<std::unique_ptr<Matrix>> copies;
  const auto start = Clock::now();
  copies.push_back(pack_matrix(matrix.source(), memory));
  const double packing = seconds_since(start);
  const int64_t size = static_cast<int64_t>(copies[0]->size_bytes());
  while (!options.from_cache && static_cast<int64_t>(copies.size()) < 1 + kBeyondCaches / size) {
    copies.push_back(pack_matrix(matrix.source(), memory));
  }
  for (int num_rows : row_counts) {
    const std::vector<float> inputs = random_inputs(num_rows * cols, random);
    std::vector<float> outputs(num_rows * rows, NAN);
    LinearInput input(num_rows, cols, precision);
    input.assign(pool, options.isa, inputs.data(), cols, num_rows, cols);
    const double quantizing = least_seconds(options.seconds / 10, [&] {
      input.assign(pool, options.isa, inputs.data(), cols, num_rows, cols);
    });
    const auto multiply = [&](const Matrix& weight) {
      linear(pool, options.isa, weight, input, nullptr, LinearResult::store, outputs.data(), rows);
    };
    multiply(*copies[0]);
    verify(matrix, inputs, num_rows, outputs);
    const double least = seconds_per_product(options, copies, num_rows, multiply);
    const double bytes_rate = static_cast<double>(size) / least;
    const double operations = 2.0 * static_cast<double>(rows * cols) * num_rows;
    std::printf(
        "%-5s %7lld x %-5lld %4d rows %9.1f us %7.1f GB/s (%3.0f %%) %8.1f GOP/s  assign %6.1f us  "
        "pack %4.2f GB/s\n",
        dtype_name(dtype), static_cast<long long>(rows), static_cast<long long>(cols), num_rows,
        least * 1e6, bytes_rate * 1e-9, 100 * bytes_rate / bandwidth, operations / least * 1e-9,
        quantizing * 1e6, static_cast<double>(size) / packing * 1e-9);
    std::fflush(stdout);
  }
}

int run(const Options& options, const std::string& what) {
  ThreadPool pool(options.num_threads);
  const double bandwidth = read_bandwidth(pool, 1);
  std::printf("%s, %d threads; read bandwidth %.1f GB/s\n", isa_name(options.isa),
              options.num_threads, bandwidth * 1e-9);
#if defined(__x86_64__)
  if (options.isa >= Isa::avx512_vnni) print_peak_rates(pool, options.num_threads);
#endif
  const auto int8 = [&](DType dtype, int64_t rows, int64_t cols,
                        std::initializer_list<int> counts) {
    measure(pool, options, Precision::int8_activations, dtype, rows, cols, counts, bandwidth);
  };
  const auto exact = [&](DType dtype, int64_t rows, int64_t cols,
                         std::initializer_list<int> counts) {
    measure(pool, options, Precision::f32_activations, dtype, rows, cols, counts, bandwidth);
  };
  if (what == "all" || what == "gemv" || what == "smollm2") {
    std::printf("SmolLM2-135M\n");
    int8(DType::Q4_1, 576, 576, {1, 4, 8, 512});
    int8(DType::Q4_1, 192, 576, {1, 4, 8, 512});
    int8(DType::Q4_1, 1536, 576, {1, 4, 8, 512});
    int8(DType::Q4_1, 576, 1536, {1, 4, 8, 512});
    int8(DType::Q8_0, 49152, 576, {1, 4, 8});
  }
  if (what == "all" || what == "gemv" || what == "gemma3") {
    std::printf("Gemma 3 270M\n");
    int8(DType::Q5_0, 1024, 640, {1, 4, 8, 512});
    int8(DType::Q5_0, 2048, 640, {1, 4, 8, 512});
    int8(DType::Q4_K, 640, 1024, {1, 4, 8, 512});
    int8(DType::Q4_K, 640, 2048, {1, 4, 8, 512});
    int8(DType::Q6_K, 640, 2048, {1, 4, 8, 512});
    int8(DType::Q8_0, 262144, 640, {1, 4, 8});
  }
  if (what == "all" || what == "types") {
    std::printf("every type, int8 inputs\n");
    for (DType dtype : kAllDTypes) {
      if (dtype_info(dtype).block_len > 1) int8(dtype, 2048, 2048, {1, 2, 3, 4, 6, 8, 12, 16, 512});
    }
  }
  if (what == "all" || what == "exact") {
    std::printf("every type, f32 inputs\n");
    for (DType dtype : kAllDTypes) exact(dtype, 2048, 2048, {1, 4, 512});
  }
  return 0;
}

}  // namespace
}  // namespace kvi::cpu

int main(int argc, char** argv) {
  kvi::cpu::Options options;
  std::string what = "all";
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0) {
      what = name;
    } else if (++i == argc) {
      std::fprintf(stderr,
                   "usage: linear_bench [--threads N] [--isa NAME] [--seconds S] "
                   "[--weights memory|cache] [all|gemv|smollm2|gemma3|types|exact]\n");
      return 2;
    } else if (name == "--threads") {
      options.num_threads = std::max(1, std::atoi(argv[i]));
    } else if (name == "--seconds") {
      options.seconds = std::atof(argv[i]);
    } else if (name == "--weights") {
      options.from_cache = std::strcmp(argv[i], "cache") == 0;
    } else if (name == "--isa") {
      for (kvi::cpu::Isa isa : kvi::cpu::supported_isas()) {
        if (std::strcmp(kvi::cpu::isa_name(isa), argv[i]) == 0) options.isa = isa;
      }
    }
  }
  return kvi::cpu::run(options, what);
}
