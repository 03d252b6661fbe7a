// How fast a model's tokenizer encodes and decodes a text file.
//
// Usage: tokenizer_bench MODEL.gguf TEXT [ROUNDS]
// Checks that decoding gives the text back, then prints the best of ROUNDS (5) in MB of text a second
// of CPU time (one thread), for the file as one text and line by line.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/tokenizer_loader.h"
#include "tokenizer/sentencepiece.h"

namespace kvi {
namespace {

// In seconds of this thread's CPU time, so that other work on the machine matters less.
template <typename Work>
double best_seconds(int rounds, Work work) {
  double best = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const std::clock_t start = std::clock();
    work();
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

int run(const char* model_path, const char* text_path, int rounds) {
  const auto file = ModelFile::open(model_path);
  std::unique_ptr<Tokenizer> tokenizer;
  const double load_seconds = best_seconds(
      1, [&] { tokenizer = load_tokenizer(*file, std::numeric_limits<int64_t>::max()); });
  const std::string text = File::read_all(text_path, uint64_t{1} << 30);
  const std::vector<TokenId> tokens = tokenizer->encode(text);
  const std::string decoded = tokenizer->decode(tokens);
  if (decoded != text && decoded != with_plain_spaces(text)) {
    std::fprintf(stderr, "decoding does not give the text back\n");
    return 1;
  }
  std::vector<std::string> lines(1);
  for (char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  const double megabytes = static_cast<double>(text.size()) * 1e-6;
  std::printf("load      %8.3f s\n", load_seconds);
  std::printf("text      %8.3f MB, %zu tokens, %zu lines\n", megabytes, tokens.size(),
              lines.size());
  std::printf("encode    %8.1f MB/s\n",
              megabytes / best_seconds(rounds, [&] { tokenizer->encode(text); }));
  std::printf("by lines  %8.1f MB/s\n", megabytes / best_seconds(rounds, [&] {
                                          for (const std::string& line : lines) {
                                            tokenizer->encode(line);
                                          }
                                        }));
  std::printf("decode    %8.1f MB/s\n",
              megabytes / best_seconds(rounds, [&] { tokenizer->decode(tokens); }));
  return 0;
}

}  // namespace
}  // namespace kvi

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench MODEL.gguf TEXT [ROUNDS]\n");
    return 2;
  }
  return kvi::run(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 5);
}
