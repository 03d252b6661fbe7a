// Text to token ids and back.
//
// A tokenizer is built from a TokenizerSpec, which says the same whether it came from GGUF metadata
// or from tokenizer.json; this room reads no model files.
//
// Immutable after construction, so thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_id.h"

namespace kvi {

class TokenIndex;
class TokenMatcher;

enum class TokenKind : uint8_t { normal, unknown, control, user_defined, unused, byte };

enum class TokenizerAlgorithm { byte_bpe, sentencepiece_bpe };

struct TokenizerSpec {
  TokenizerAlgorithm algorithm = TokenizerAlgorithm::byte_bpe;
  std::string pretokenizer;                 // byte_bpe: "gpt2", "llama3", "qwen2", "smollm"
  std::vector<std::string> split_patterns;  // byte_bpe without a pretokenizer: regexes, each splits
                                            // what those before it left
  std::vector<std::string> tokens;   // by id, as stored (byte-level alphabet or "\u2581" pieces)
  std::vector<TokenKind> kinds;      // by id
  std::vector<float> scores;         // by id; sentencepiece_bpe: the highest merges first
  std::vector<std::string> merges;   // "left right", best first; sentencepiece_bpe: without scores
  bool normalize_nfc = false;        // byte_bpe: to normalisation form C first (Qwen2)
  bool add_space_prefix = false;     // sentencepiece_bpe: a space before the text,
  bool prefix_after_control = true;  //   and again after each control token,
  bool prefix_before_space = true;   //   even where a space is there already
  bool ignore_merges = false;        // llama3: a word that is a token needs no merges
  bool add_bos = false;              // the model's own wish; what add_bos=auto follows
  bool add_eos = false;              // told to callers; encode never appends an EOS
  std::optional<TokenId> bos, eos, unknown, padding;
  std::vector<TokenId> end_of_generation;  // eot and the like; create adds eos and known names
};

// Fills in what the name in GGUF's tokenizer.ggml.pre stands for: pretokenizer, normalize_nfc and
// ignore_merges. Throws UNSUPPORTED for a name that this library does not know.
void set_gguf_pretokenizer(std::string_view name, TokenizerSpec& spec);

enum class AddBos { automatic, yes, no };  // automatic never doubles a BOS that is there
enum class ParseSpecial { no, yes };       // no: text never becomes a control token
// continued: the text follows earlier tokens, so that it gets (and gives back) no space prefix.
enum class TextStart { fresh, continued };

struct EncodeOptions {
  AddBos add_bos = AddBos::automatic;
  ParseSpecial parse_special = ParseSpecial::no;
  TextStart start = TextStart::fresh;
};

// A stretch of a text of mixed trust, as a chat template renders it.
struct TextPart {
  std::string_view text;
  ParseSpecial parse_special = ParseSpecial::no;
};

class Tokenizer {
 public:
  // Throws CORRUPT when the spec contradicts itself, UNSUPPORTED naming an unknown pretokenizer.
  static std::unique_ptr<Tokenizer> create(TokenizerSpec spec);
  virtual ~Tokenizer();

  // User-defined tokens are found whatever the options, longest first; control tokens where
  // parse_special says yes. Bytes that the vocabulary cannot express are dropped, as the reference
  // tokenizers do (SmolLM2 lacks U+0004 and a few more).
  // Throws INVALID_ARGUMENT for ill-formed UTF-8, naming the byte offset, and for AddBos::yes
  // without a BOS token.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // As if the parts were one text, except that control tokens are found only inside parts that
  // allow them (options.parse_special is not used).
  std::vector<TokenId> encode(std::span<const TextPart> parts, const EncodeOptions& options) const;

  // The bytes that a token stands for; control and unknown tokens are empty unless render_special.
  // Throws INVALID_ARGUMENT for an id out of range.
  std::string token_bytes(TokenId token, bool render_special = false) const;

  // Well-formed text: bytes that form no code point come out as U+FFFD. decode(encode(x)) == x,
  // but for what normalisation changes (NFC; U+2581 reads as a space in sentencepiece_bpe).
  std::string decode(std::span<const TokenId> tokens, bool render_special = false) const;

  int vocab_size() const { return static_cast<int>(spec_.tokens.size()); }
  const TokenizerSpec& spec() const { return spec_; }
  bool is_end_of_generation(TokenId token) const;                  // false for ids out of range
  std::optional<TokenId> find_token(std::string_view text) const;  // by its stored form

 protected:
  // bytes: by id, what each token stands for in text.
  Tokenizer(TokenizerSpec&& spec, std::vector<std::string> bytes);

  // One stretch of text without control or user-defined tokens.
  virtual void encode_text(std::string_view text, std::vector<TokenId>& out) const = 0;

  const std::vector<std::string>& bytes() const { return bytes_; }
  const TokenIndex& stored_forms() const { return *stored_forms_; }

 private:
  // A stretch between control tokens; prefixed: a space goes before it.
  void encode_stretch(std::string_view text, bool prefixed, std::vector<TokenId>& out) const;
  void encode_plain(std::string_view text, std::vector<TokenId>& out) const;

  TokenizerSpec spec_;
  std::vector<std::string> bytes_;     // by id
  std::vector<bool> ends_generation_;  // by id
  std::unique_ptr<const TokenIndex> stored_forms_;
  std::unique_ptr<const TokenMatcher> control_tokens_;
  std::unique_ptr<const TokenMatcher> user_defined_tokens_;
};

}  // namespace kvi
