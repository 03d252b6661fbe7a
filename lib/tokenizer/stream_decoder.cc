#include "tokenizer/stream_decoder.h"

#include "base/utf8.h"

namespace kvi {
namespace {

// Appends the whole code points of text to out, and returns what may still become one.
std::string_view append_code_points(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    out += text.substr(0, valid);
    text.remove_prefix(valid);
    if (is_utf8_start(text)) break;
    append_utf8(out, 0xfffd);
    text.remove_prefix(decode_utf8(text, 0).size);
  }
  return text;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool render_special, TextStart start)
    : tokenizer_(tokenizer),
      render_special_(render_special),
      drops_space_(tokenizer.spec().add_space_prefix && start == TextStart::fresh) {}

std::string StreamDecoder::push(TokenId token) {
  std::string bytes = tokenizer_.token_bytes(token, render_special_);
  if (drops_space_ && !bytes.empty()) {
    if (bytes[0] == ' ') bytes.erase(0, 1);
    drops_space_ = false;
  }
  pending_ += bytes;
  std::string out;
  pending_ = append_code_points(pending_, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  if (!pending_.empty()) append_utf8(out, 0xfffd);
  pending_.clear();
  return out;
}

}  // namespace kvi
