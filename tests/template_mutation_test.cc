// Templates mutated token by token and byte by byte, with hostile pieces: whatever comes of it
// renders or throws Error. Seed printed; replay with KVINFER_TEST_SEED.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "base/error.h"
#include "jinja/chat_template.h"
#include "support/template_goldens.h"

namespace kvi {
namespace {

constexpr const char* kModels[] = {"smollm2", "gemma3", "llama3",       "llama3.1",
                                   "qwen2.5", "qwen3",  "mistral-v0.1", "mistral-v0.3"};
constexpr const char* kPieces[] = {"{{",
                                   "}}",
                                   "{%",
                                   "%}",
                                   "{#",
                                   "#}",
                                   "-",
                                   "(",
                                   ")",
                                   "[",
                                   "]",
                                   "{",
                                   "}",
                                   "|",
                                   ".",
                                   "*",
                                   "**",
                                   "//",
                                   "%",
                                   "~",
                                   "'",
                                   "\"",
                                   "\\",
                                   "\n",
                                   "0",
                                   "-1",
                                   "999999999",
                                   "9223372036854775807",
                                   "1e308",
                                   "none",
                                   "loop",
                                   "messages",
                                   "namespace()",
                                   "range(99999)",
                                   "[::-1]",
                                   "|list",
                                   "|tojson",
                                   "|join",
                                   "|map",
                                   "|sort",
                                   "|first",
                                   "|last",
                                   " in ",
                                   " not ",
                                   " is ",
                                   " if ",
                                   " else ",
                                   " and ",
                                   "{% endif %}",
                                   "{% else %}",
                                   "{% for x in messages %}",
                                   "{% endfor %}",
                                   "{% set x = [x] %}",
                                   "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                                   "\xf0\x9f\x98\x80",
                                   "\xff",
                                   "\0"};

class TemplateMutation : public testing::Test {
 protected:
  TemplateMutation() {
    const char* given = std::getenv("KVINFER_TEST_SEED");
    seed_ = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
    random_.seed(seed_);
    std::cout << "KVINFER_TEST_SEED=" << seed_ << '\n';
  }

  size_t below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }

  // Where a token may begin or end: where letters meet others.
  size_t boundary(const std::string& text) {
    size_t pos = below(text.size() + 1);
    auto is_word = [&](size_t i) {
      return std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_';
    };
    while (pos > 0 && pos < text.size() && is_word(pos - 1) && is_word(pos)) ++pos;
    return pos;
  }

  void mutate(std::string& text) {
    size_t begin = boundary(text), end = boundary(text);
    if (begin > end) std::swap(begin, end);
    end = std::min(end, begin + 1 + below(40));
    switch (below(5)) {
      case 0: text.erase(begin, end - begin); break;
      case 1: text.insert(below(text.size() + 1), text.substr(begin, end - begin)); break;
      case 2: text.insert(begin, kPieces[below(std::size(kPieces))]); break;
      case 3: text.replace(begin, end - begin, kPieces[below(std::size(kPieces))]); break;
      default:
        if (begin < text.size()) text[begin] = static_cast<char>(below(256));
    }
  }

  uint64_t seed_;
  std::mt19937_64 random_;
};

TEST_F(TemplateMutation, RendersOrThrowsWhateverIsWritten) {
  const nlohmann::ordered_json goldens = read_template_goldens();
  std::vector<TemplateInput> inputs;
  for (const auto& golden : goldens["models"]) {
    if (golden["template"] == "llama3.1") inputs.push_back(golden_input(goldens, golden));
  }
  TemplateLimits limits;
  limits.max_steps = 100'000;
  limits.max_output_bytes = 1 << 20;
  limits.max_memory_bytes = 8 << 20;
  int num_rendered = 0, num_failed = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string source = read_model_template(kModels[below(std::size(kModels))]);
    for (size_t i = 1 + below(4); i > 0; --i) mutate(source);
    try {
      ChatTemplate(source, limits).render(inputs[below(inputs.size())]);
      ++num_rendered;
    } catch (const Error& error) {
      EXPECT_NE(error.status(), Status::INTERNAL) << error.message() << source;
      ++num_failed;
    }
  }
  EXPECT_GT(num_rendered, 300);
  EXPECT_GT(num_failed, 300);
}

}  // namespace
}  // namespace kvi
