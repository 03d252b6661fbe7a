// Chat templates: a sandboxed subset of Jinja2 that renders conversations as the model expects.
//
// Templates come with model files, so they are hostile input: parsing and rendering have limits on
// depth, steps and output, and reach nothing but the values given.
//
// Immutable after construction, so thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kvi {

struct ChatMessage {
  std::string role;
  std::string content;
};

struct TemplateLimits {
  int max_depth = 64;                      // nesting of blocks and expressions
  uint64_t max_steps = 10'000'000;         // evaluated nodes
  uint64_t max_output_bytes = 64u << 20;
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
  std::string bos_token, eos_token;        // as text
  std::string arguments_json;              // further variables, a JSON object, or ""
};

class ChatTemplate {
 public:
  // Throws UNSUPPORTED naming the construct and its line, or CORRUPT for what is not Jinja.
  explicit ChatTemplate(std::string source, TemplateLimits limits = {});
  ~ChatTemplate();

  // Throws INVALID_ARGUMENT with the template's own words when it calls raise_exception,
  // UNSUPPORTED when a limit is reached.
  std::vector<TemplatePiece> render(const TemplateInput& input) const;
  std::string render_text(const TemplateInput& input) const;

  const std::string& source() const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

}  // namespace kvi
