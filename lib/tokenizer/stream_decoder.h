// Turns a stream of tokens into text, whole code points at a time.
//
// Not thread-safe: one stream, one decoder. Keeps its tokenizer by reference.
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace kvi {

class StreamDecoder {
 public:
  // start: fresh takes back the space that encode put before the text (add_space_prefix);
  // continued keeps it, for tokens that follow a prompt.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool render_special = false,
                         TextStart start = TextStart::fresh);

  // The text that token completes: well-formed UTF-8, possibly empty. Bytes that can no longer
  // become a code point come out as U+FFFD.
  std::string push(TokenId token);

  // What is left at the end of the stream: U+FFFD for an unfinished code point, else "".
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool render_special_;
  bool drops_space_;     // the next text begins with the space prefix
  std::string pending_;  // shorter than one code point
};

}  // namespace kvi
