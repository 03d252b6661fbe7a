// Any bytes as a tokenizer.json: read or refused with an Error, and what was read encodes any text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tokenizer/hf_tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = kvi::Tokenizer::create(kvi::parse_hf_tokenizer_json(text, ""));
    tokenizer->decode(tokenizer->encode("Any text: <s> 123\n\u00e9\u2581"));
  } catch (const kvi::Error&) {
  }
  return 0;
}
