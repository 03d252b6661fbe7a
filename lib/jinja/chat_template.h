// Chat templates: a sandboxed subset of Jinja2 that renders conversations as the model expects.
//
// Templates come with model files, so they are hostile input: parsing and rendering have limits on
// depth, steps and output, and reach nothing but the values given.
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

struct ChatMessage {
  std::string role;
  std::string content;
  std::string fields_json;  // further fields (tool_calls, name, ...), a JSON object, or ""; they
                            // may replace content, where a template takes a list of parts
};

struct TemplateLimits {
  int max_depth = 64;               // nesting of blocks and expressions
  uint64_t max_steps = 10'000'000;  // evaluated nodes
  uint64_t max_output_bytes = 64u << 20;
  uint64_t max_memory_bytes = 256u << 20;  // values alive at once while rendering
  uint64_t max_source_bytes = 1u << 20;
};

// A piece of rendered text. Text that came out of a message (user data) must never become a special
// token; the template's own text may.
struct TemplatePiece {
  std::string text;
  bool from_message = false;
};

struct TemplateInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;  // as text
  std::string arguments_json;        // further variables, a JSON object, or ""
  std::optional<int64_t> now;  // seconds since 1970, shown in UTC by strftime_now(format); without
                               // it strftime_now is not defined, and templates take their default
};

class ChatTemplate {
 public:
  // Throws UNSUPPORTED naming the construct or limit and its line, or CORRUPT for what is not Jinja.
  explicit ChatTemplate(std::string source, TemplateLimits limits = {});
  ~ChatTemplate();

  // Neighbouring pieces differ in from_message. What a message or an argument says is marked, however
  // the template cuts and joins it; only a role of plain letters counts as the template's own, since
  // templates build control tokens from it ('<|' + role + '|>').
  //
  // Throws INVALID_ARGUMENT with the template's own words when it calls raise_exception or fails on
  // this input (a missing field, say), or when a text is not UTF-8 or a JSON is not an object;
  // UNSUPPORTED when a limit is reached.
  std::vector<TemplatePiece> render(const TemplateInput& input) const;
  std::string render_text(const TemplateInput& input) const;

  const std::string& source() const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

// A template for models whose file has none: "gemma", "chatml" or "llama3"; nullptr for any other.
const char* default_chat_template(std::string_view family);

}  // namespace kvi
