// What the keys of a prefix of 100,000 tokens cost, in pages of 16, with each code of SHA-256.
//
//   prefix_key_bench [--benchmark_min_time=S ...]      the options of Google Benchmark
//
// ns_per_token is the least of all rounds, since other work on the machine only ever adds; so is the time that
// to_sha256 compares with: that of one SHA-256 of the same 400,000 bytes, in the same run and code.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "base/os_cpu.h"
#include "cache/prefix_key.h"

namespace kvi {
namespace {

constexpr size_t kNumTokens = 100'000, kPageLen = 16;

Digest chained_keys(std::span<const TokenId> tokens, Sha256Code code) {
  Digest key = enter_scope(root_digest({"model", "layout", "numerics", ""}), scope_salt({}, "t"));
  for (; tokens.size() >= kPageLen; tokens = tokens.subspan(kPageLen)) {
    key = page_key(key, tokens.first(kPageLen), code);
  }
  return key;
}

Digest one_digest(std::span<const TokenId> tokens, Sha256Code code) {
  Sha256 sha(code);
  sha.update(std::as_bytes(tokens));
  return sha.finish();
}

using Work = Digest (*)(std::span<const TokenId>, Sha256Code);

double nanoseconds(Work work, std::span<const TokenId> tokens, Sha256Code code) {
  const auto start = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(work(tokens, code));
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

void prefix_keys(benchmark::State& state, Sha256Code code) {
  std::vector<TokenId> tokens(kNumTokens);
  std::iota(tokens.begin(), tokens.end(), 0);
  if (chained_keys(tokens, code) != chained_keys(tokens, Sha256Code::plain)) {
    state.SkipWithError("the keys are not those of the plain code");
    return;
  }
  double keys = 1e18, sha = 1e18;
  for (auto _ : state) {
    keys = std::min(keys, nanoseconds(chained_keys, tokens, code));
    state.PauseTiming();
    sha = std::min(sha, nanoseconds(one_digest, tokens, code));
    state.ResumeTiming();
  }
  state.counters["ns_per_token"] = keys / kNumTokens;
  state.counters["to_sha256"] = keys / sha;
}

}  // namespace
}  // namespace kvi

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (kvi::cpu_has_sha()) {
    benchmark::RegisterBenchmark("prefix_keys/sha_ni", kvi::prefix_keys, kvi::Sha256Code::fastest);
  }
  benchmark::RegisterBenchmark("prefix_keys/plain", kvi::prefix_keys, kvi::Sha256Code::plain);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
