#include "engine/tokenizer_loader.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/hf_tokenizer_json.h"

namespace kvi {
namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";

std::optional<TokenId> find_id(const Metadata& metadata, const char* name, size_t num_tokens) {
  const std::optional<int64_t> id = metadata.find_int(std::string(kPrefix) + name);
  if (!id || *id == -1 || *id == 0xffffffff) return std::nullopt;
  if (*id < 0 || static_cast<uint64_t>(*id) >= num_tokens) {
    throw Error(Status::CORRUPT,
                concat(kPrefix, name, " is ", *id, "; the vocabulary has ", num_tokens, " tokens"));
  }
  return static_cast<TokenId>(*id);
}

// GGUF's token_type numbers, which are SentencePiece's.
TokenKind kind_of(int64_t number, size_t id) {
  switch (number) {
    case 1: return TokenKind::normal;
    case 2: return TokenKind::unknown;
    case 3: return TokenKind::control;
    case 4: return TokenKind::user_defined;
    case 5: return TokenKind::unused;
    case 6: return TokenKind::byte;
    default:
      throw Error(Status::CORRUPT,
                  concat(kPrefix, "token_type of token ", id, " is ", number, "; expected 1 to 6"));
  }
}

// Folders of safetensors may name BOS and EOS by their text only.
void take_by_text(const Metadata& metadata, const char* key, const std::vector<std::string>& tokens,
                  std::optional<TokenId>& target) {
  const std::string* text = metadata.find_string(key);
  if (target || text == nullptr) return;
  const auto place = std::find(tokens.begin(), tokens.end(), *text);
  if (place != tokens.end()) target = static_cast<TokenId>(place - tokens.begin());
}

// The model's own wishes, which the metadata states for both formats.
void read_special_tokens(const Metadata& metadata, TokenizerSpec& spec) {
  const size_t num_tokens = spec.tokens.size();
  auto take = [&](const char* name, std::optional<TokenId>& target) {
    if (std::optional<TokenId> id = find_id(metadata, name, num_tokens)) target = id;
  };
  take("bos_token_id", spec.bos);
  take("eos_token_id", spec.eos);
  take("unknown_token_id", spec.unknown);
  take("padding_token_id", spec.padding);
  for (const char* name : {"eot_token_id", "eom_token_id"}) {
    if (std::optional<TokenId> id = find_id(metadata, name, num_tokens))
      spec.end_of_generation.push_back(*id);
  }
  take_by_text(metadata, "kvinfer.bos_token", spec.tokens, spec.bos);
  take_by_text(metadata, "kvinfer.eos_token", spec.tokens, spec.eos);
  if (const std::vector<int64_t>* ids = metadata.find_ints("kvinfer.eos_token_ids")) {
    for (int64_t id : *ids) {
      if (id >= 0 && static_cast<size_t>(id) < num_tokens)
        spec.end_of_generation.push_back(static_cast<TokenId>(id));
    }
  }
  if (std::optional<bool> add = metadata.find_bool("tokenizer.ggml.add_bos_token"))
    spec.add_bos = *add;
  if (std::optional<bool> add = metadata.find_bool("tokenizer.ggml.add_eos_token"))
    spec.add_eos = *add;
}

TokenizerSpec read_gguf_spec(const Metadata& metadata) {
  const std::string& model = metadata.get_string("tokenizer.ggml.model");
  TokenizerSpec spec;
  if (model == "gpt2") {
    spec.algorithm = TokenizerAlgorithm::byte_bpe;
    const std::string* pre = metadata.find_string("tokenizer.ggml.pre");
    set_gguf_pretokenizer(pre != nullptr ? *pre : "default", spec);
    spec.add_bos = spec.pretokenizer == "llama3";
  } else if (model == "llama") {
    spec.algorithm = TokenizerAlgorithm::sentencepiece_bpe;
    spec.add_bos = true;
    spec.add_space_prefix = metadata.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  } else {
    throw Error(Status::UNSUPPORTED, concat("tokenizer ", quoted(model),
                                            " is not supported; supported are gpt2 "
                                            "(byte-level BPE) and llama (SentencePiece BPE)"));
  }
  const std::vector<std::string>* tokens = metadata.find_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) throw Error(Status::CORRUPT, "tokenizer.ggml.tokens is missing");
  spec.tokens = *tokens;
  if (const auto* types = metadata.find_ints("tokenizer.ggml.token_type")) {
    if (types->size() != spec.tokens.size()) {
      throw Error(Status::CORRUPT, concat("tokenizer.ggml.token_type has ", types->size(),
                                          " entries for ", spec.tokens.size(), " tokens"));
    }
    for (size_t id = 0; id < types->size(); ++id) spec.kinds.push_back(kind_of((*types)[id], id));
  } else {
    spec.kinds.assign(spec.tokens.size(), TokenKind::normal);
  }
  if (const auto* scores = metadata.find_floats("tokenizer.ggml.scores")) {
    for (double score : *scores) spec.scores.push_back(static_cast<float>(score));
  }
  if (const auto* merges = metadata.find_strings("tokenizer.ggml.merges")) spec.merges = *merges;
  return spec;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const ModelFile& file, int64_t vocab_size) {
  const std::string json = file.tokenizer_json();
  if (json.empty() && !file.metadata().contains("tokenizer.ggml.model")) {
    throw Error(Status::UNSUPPORTED,
                concat(quoted(file.path(), 400), " has no tokenizer",
                       file.format() == ModelFormat::gguf ? "" : " (tokenizer.json)"));
  }
  TokenizerSpec spec = json.empty() ? read_gguf_spec(file.metadata())
                                    : parse_hf_tokenizer_json(json, "");
  if (static_cast<int64_t>(spec.tokens.size()) > vocab_size) {
    throw Error(Status::CORRUPT, concat("the tokenizer has ", spec.tokens.size(),
                                        " tokens, the embedding only ", vocab_size, " rows"));
  }
  read_special_tokens(file.metadata(), spec);
  return Tokenizer::create(std::move(spec));
}

}  // namespace kvi
