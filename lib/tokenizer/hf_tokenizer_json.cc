#include "tokenizer/hf_tokenizer_json.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/pretokenizer.h"

namespace kvi {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

// Some files leave ids free between the vocabulary and the added tokens; more than this many is
// taken for a mistake, before memory is taken for them.
constexpr size_t kMaxUnusedIds = 65536;

// What the parts of the file say of the algorithm, gathered before it is decided.
struct Pipeline {
  bool byte_level = false;
  bool space_marks = false;  // spaces become U+2581
  std::vector<std::string> patterns;
};

[[noreturn]] void refuse_type(const HfValue& value) {
  value.fail(Status::UNSUPPORTED, concat("has the type ", kvi::quoted(value.type()),
                                         ", which this library does not know"));
}

// The parts of a Sequence, or the value itself.
std::vector<HfValue> parts_of(const HfValue& value, const char* list_key) {
  if (value.type() != "Sequence") return {value};
  const HfValue list = value.get(list_key);
  std::vector<HfValue> parts;
  for (size_t i = 0; i < list.size(); ++i) {
    // One level is all that exists in practice; deeper ones fail as an unknown type.
    parts.push_back(list.at(i));
  }
  return parts;
}

// A pattern is {"String": text} or {"Regex": text}.
std::optional<std::string> literal_pattern(const HfValue& value) {
  const auto text = value.get("pattern").find("String");
  return text ? std::optional(text->as_string()) : std::nullopt;
}

void read_normalizer(const HfValue& normalizer, TokenizerSpec& spec, Pipeline& pipeline) {
  for (const HfValue& part : parts_of(normalizer, "normalizers")) {
    const std::string type = part.type();
    if (type == "NFC") {
      spec.normalize_nfc = true;
    } else if (type == "Prepend" && part.get("prepend").as_string() == kSpaceMark) {
      spec.add_space_prefix = true;
    } else if (type == "Replace" && literal_pattern(part) == " " &&
               part.get("content").as_string() == kSpaceMark) {
      pipeline.space_marks = true;
    } else {
      refuse_type(part);
    }
  }
}

void read_metaspace(const HfValue& part, TokenizerSpec& spec, Pipeline& pipeline) {
  if (part.get("replacement").as_string() != kSpaceMark || part.flag("split", false)) {
    part.fail(Status::UNSUPPORTED, "is a Metaspace with another mark, or one that splits");
  }
  std::string scheme = part.flag("add_prefix_space", true) ? "always" : "never";
  if (auto stated = part.find("prepend_scheme")) scheme = stated->as_string();
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    part.fail(Status::CORRUPT, concat("has the prepend_scheme ", kvi::quoted(scheme)));
  }
  pipeline.space_marks = true;
  spec.add_space_prefix = scheme != "never";
  spec.prefix_after_control = scheme == "always";
  spec.prefix_before_space = false;
}

void read_split(const HfValue& part, Pipeline& pipeline) {
  const HfValue pattern = part.get("pattern");
  const auto regex = pattern.find("Regex");
  const std::string behavior = part.get("behavior").as_string();
  if (regex && behavior == "Isolated" && !part.flag("invert", false)) {
    pipeline.patterns.push_back(regex->as_string());
  } else if (!regex && literal_pattern(part) == " " && pipeline.space_marks) {
    // Gemma: the normalizer has left no space to split at.
  } else {
    part.fail(Status::UNSUPPORTED,
              concat("is a Split with the behavior ", kvi::quoted(behavior),
                     ", which this library ", "knows for regexes only, isolated and not inverted"));
  }
}

void read_pre_tokenizer(const HfValue& pre_tokenizer, TokenizerSpec& spec, Pipeline& pipeline) {
  for (const HfValue& part : parts_of(pre_tokenizer, "pretokenizers")) {
    const std::string type = part.type();
    if (type == "ByteLevel") {
      if (part.flag("add_prefix_space", false)) {
        part.fail(Status::UNSUPPORTED, "has add_prefix_space, which this library does not do here");
      }
      pipeline.byte_level = true;
      if (part.flag("use_regex", true)) pipeline.patterns.emplace_back(kGpt2Pattern);
    } else if (type == "Digits") {
      pipeline.patterns.emplace_back(part.flag("individual_digits", false) ? kDigitPattern
                                                                           : R"(\p{N}+)");
    } else if (type == "Split") {
      read_split(part, pipeline);
    } else if (type == "Metaspace") {
      read_metaspace(part, spec, pipeline);
    } else {
      refuse_type(part);
    }
  }
}

// The ids of the special token at the front or back of the template, if one is there.
std::optional<TokenId> template_token(const HfValue& processor, const HfValue& piece) {
  const auto special = piece.find("SpecialToken");
  if (!special) return std::nullopt;
  const std::string& name = special->get("id").as_string();
  const auto entry = processor.get("special_tokens").find(name.c_str());
  if (!entry || entry->get("ids").size() != 1) {
    piece.fail(Status::CORRUPT, concat("uses ", kvi::quoted(name),
                                       ", which special_tokens does not list with one id"));
  }
  return entry->get("ids").at(0).as_id();
}

void read_post_processor(const HfValue& post_processor, TokenizerSpec& spec) {
  for (const HfValue& part : parts_of(post_processor, "processors")) {
    if (part.type() == "ByteLevel") continue;  // trims offsets, no tokens
    if (part.type() != "TemplateProcessing") refuse_type(part);
    const HfValue single = part.get("single");
    if (single.size() == 0) continue;
    if (auto id = template_token(part, single.at(0))) {
      spec.bos = *id;
      spec.add_bos = true;
    }
    if (single.size() < 2) continue;
    if (auto id = template_token(part, single.at(single.size() - 1))) {
      spec.eos = *id;
      spec.add_eos = true;
    }
  }
}

void place_token(TokenizerSpec& spec, std::vector<bool>& taken, const HfValue& place,
                 const std::string& text, TokenId id) {
  if (taken[id] && spec.tokens[id] != text) {
    place.fail(Status::CORRUPT, concat("gives id ", id, " to ", kvi::quoted(text), ", but ",
                                       kvi::quoted(spec.tokens[id]), " has it"));
  }
  taken[id] = true;
  spec.tokens[id] = text;
}

void read_tokens(const HfValue& root, const HfValue& vocab, TokenizerSpec& spec) {
  size_t num_entries = 0;
  TokenId max_id = -1;
  vocab.for_each_member([&](const std::string&, const HfValue& id) {
    max_id = std::max(max_id, id.as_id());
    ++num_entries;
  });
  const auto added = root.find("added_tokens");
  const size_t num_added = added ? added->size() : 0;
  for (size_t i = 0; i < num_added; ++i) {
    max_id = std::max(max_id, added->at(i).get("id").as_id());
    ++num_entries;
  }
  const size_t num_tokens = static_cast<size_t>(max_id) + 1;
  if (num_tokens > num_entries + kMaxUnusedIds) {
    vocab.fail(Status::CORRUPT,
               concat("has the id ", max_id, " but only ", num_entries, " tokens"));
  }
  spec.tokens.resize(num_tokens);
  spec.kinds.assign(num_tokens, TokenKind::unused);
  std::vector<bool> taken(num_tokens);
  vocab.for_each_member([&](const std::string& text, const HfValue& id) {
    place_token(spec, taken, vocab, text, id.as_id());
    spec.kinds[id.as_id()] = TokenKind::normal;
  });
  for (size_t i = 0; i < num_added; ++i) {
    const HfValue token = added->at(i);
    const TokenId id = token.get("id").as_id();
    const std::string& text = token.get("content").as_string();
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (token.flag(key, false)) {
        token.fail(Status::UNSUPPORTED,
                   concat(kvi::quoted(text), " has ", key, ", which this library does not do"));
      }
    }
    place_token(spec, taken, token, text, id);
    spec.kinds[id] = token.flag("special", false) ? TokenKind::control : TokenKind::user_defined;
  }
}

void read_merges(const HfValue& merges, TokenizerSpec& spec) {
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const HfValue merge = merges.at(i);
    if (merge.is_string()) {
      spec.merges.push_back(merge.as_string());
      continue;
    }
    if (!merge.is_array() || merge.size() != 2) {
      merge.fail(Status::CORRUPT, "must be a string or a pair of strings");
    }
    const std::string& left = merge.at(0).as_string();
    const std::string& right = merge.at(1).as_string();
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos) {
      merge.fail(Status::UNSUPPORTED, "has a space inside a token");
    }
    spec.merges.push_back(concat(left, " ", right));
  }
}

void read_model(const HfValue& root, TokenizerSpec& spec, const Pipeline& pipeline) {
  const HfValue model = root.get("model");
  if (auto type = model.find("type"); type && type->as_string() != "BPE") refuse_type(model);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (auto affix = model.find(key); affix && !affix->as_string().empty()) {
      model.fail(Status::UNSUPPORTED, concat("has a ", key, ", which this library does not do"));
    }
  }
  read_tokens(root, model.get("vocab"), spec);
  read_merges(model.get("merges"), spec);
  spec.ignore_merges = model.flag("ignore_merges", false);

  if (pipeline.byte_level && !pipeline.space_marks) {
    spec.algorithm = TokenizerAlgorithm::byte_bpe;
    spec.pretokenizer = find_pretokenizer(pipeline.patterns);
    if (spec.pretokenizer.empty()) spec.split_patterns = pipeline.patterns;
    return;
  }
  if (pipeline.byte_level || !pipeline.space_marks || !pipeline.patterns.empty() ||
      spec.ignore_merges || spec.normalize_nfc) {
    root.fail(Status::UNSUPPORTED,
              "is neither byte-level BPE nor BPE over text with U+2581 for spaces");
  }
  spec.algorithm = TokenizerAlgorithm::sentencepiece_bpe;
  if (!model.flag("byte_fallback", false)) return;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (spec.kinds[id] == TokenKind::normal && token.size() == 6 && token.starts_with("<0x") &&
        token.ends_with(">")) {
      spec.kinds[id] = TokenKind::byte;
    }
  }
}

std::optional<TokenId> id_of(const TokenizerSpec& spec, std::string_view text) {
  const auto token = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  if (token == spec.tokens.end()) return std::nullopt;
  return static_cast<TokenId>(token - spec.tokens.begin());
}

// A token is named by its text, or by an object that holds it as "content".
void read_role(const HfValue& config, const char* key, const TokenizerSpec& spec,
               std::optional<TokenId>& role) {
  const auto value = config.find(key);
  if (!value) return;
  const std::string& text = value->is_object() ? value->get("content").as_string()
                                               : value->as_string();
  const auto id = id_of(spec, text);
  if (!id) value->fail(Status::CORRUPT, concat("is ", kvi::quoted(text), ", which is not a token"));
  role = id;
}

void read_config(const HfValue& config, TokenizerSpec& spec) {
  read_role(config, "bos_token", spec, spec.bos);
  read_role(config, "eos_token", spec, spec.eos);
  read_role(config, "pad_token", spec, spec.padding);
  spec.add_bos = config.flag("add_bos_token", spec.add_bos) && spec.bos;
  spec.add_eos = config.flag("add_eos_token", spec.add_eos) && spec.eos;
}

}  // namespace

TokenizerSpec parse_hf_tokenizer_json(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config_json) {
  const nlohmann::json document = parse_hf_json(tokenizer_json, "tokenizer.json");
  const HfValue root(document, "tokenizer.json: ");
  TokenizerSpec spec;
  Pipeline pipeline;
  if (auto normalizer = root.find("normalizer")) read_normalizer(*normalizer, spec, pipeline);
  if (auto pre_tokenizer = root.find("pre_tokenizer")) {
    read_pre_tokenizer(*pre_tokenizer, spec, pipeline);
  }
  read_model(root, spec, pipeline);
  if (auto unknown = root.get("model").find("unk_token")) {
    spec.unknown = id_of(spec, unknown->as_string());
    if (!spec.unknown) {
      unknown->fail(Status::CORRUPT,
                    concat("is ", kvi::quoted(unknown->as_string()), ", which is not a token"));
    }
  }
  if (auto post_processor = root.find("post_processor")) read_post_processor(*post_processor, spec);
  if (!tokenizer_config_json.empty()) {
    const nlohmann::json config = parse_hf_json(tokenizer_config_json, "tokenizer_config.json");
    read_config(HfValue(config, "tokenizer_config.json: "), spec);
  }
  return spec;
}

}  // namespace kvi
