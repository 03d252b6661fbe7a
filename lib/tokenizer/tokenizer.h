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
#include <string>
#include <string_view>
#include <vector>

namespace kvi {

using TokenId = int32_t;

enum class TokenKind : uint8_t { normal, unknown, control, user_defined, unused, byte };

enum class TokenizerAlgorithm { byte_bpe, sentencepiece_bpe };

struct TokenizerSpec {
  TokenizerAlgorithm algorithm = TokenizerAlgorithm::byte_bpe;
  std::string pretokenizer;              // byte_bpe: "gpt2", "llama3", "qwen2", "smollm"
  std::vector<std::string> tokens;       // by id, as stored (byte-level alphabet or "\u2581" pieces)
  std::vector<TokenKind> kinds;          // by id
  std::vector<float> scores;             // by id; sentencepiece_bpe only
  std::vector<std::string> merges;       // byte_bpe: "left right", best first
  bool add_space_prefix = false;         // sentencepiece_bpe: a space before the first piece
  bool ignore_merges = false;            // llama3: a word that is a token needs no merges
  bool add_bos = false;                  // the model's own wish; what add_bos=auto follows
  bool add_eos = false;
  std::optional<TokenId> bos, eos, unknown, padding;
  std::vector<TokenId> end_of_generation;  // eos, eot and the like
};

enum class AddBos { automatic, yes, no };          // automatic never doubles a BOS that is there
enum class ParseSpecial { no, yes };               // no: text never becomes a control token

struct EncodeOptions {
  AddBos add_bos = AddBos::automatic;
  ParseSpecial parse_special = ParseSpecial::no;
};

class Tokenizer {
 public:
  // Throws CORRUPT when the spec contradicts itself, UNSUPPORTED naming an unknown pretokenizer.
  static std::unique_ptr<Tokenizer> create(TokenizerSpec spec);
  virtual ~Tokenizer();

  // Ill-formed UTF-8 is INVALID_ARGUMENT naming the byte offset.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The bytes that a token stands for; control tokens are empty unless render_special.
  // Throws INVALID_ARGUMENT for an id out of range.
  std::string token_bytes(TokenId token, bool render_special = false) const;
  std::string decode(const std::vector<TokenId>& tokens, bool render_special = false) const;

  int vocab_size() const;
  const TokenizerSpec& spec() const;
  bool is_end_of_generation(TokenId token) const;
  bool is_control(TokenId token) const;
  std::optional<TokenId> find_token(std::string_view text) const;  // by its stored form

 protected:
  // One stretch of text between special tokens. first: nothing precedes it in this input.
  virtual void encode_text(std::string_view text, bool first, std::vector<TokenId>& out) const = 0;
};

}  // namespace kvi
