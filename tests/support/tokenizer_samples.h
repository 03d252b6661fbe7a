// The texts that tokenizers are compared on, as tests/generate/tokenizer_samples.py makes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvi {

// A string of characters of all kinds: spaces, digits, many scripts, repetitions, special tokens.
std::string random_text(uint64_t index);

// The lines of goldens/tokenizer_text.txt, blocks of ten lines, and 10,000 random strings.
std::vector<std::string> tokenizer_samples();

}  // namespace kvi
