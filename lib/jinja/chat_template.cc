#include "jinja/chat_template.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "jinja/interpreter.h"
#include "jinja/json.h"
#include "jinja/parser.h"

namespace kvi {

using jinja::MarkedText;
using jinja::Origin;
using jinja::Value;

struct ChatTemplate::Program {
  std::string source;
  TemplateLimits limits;
  jinja::Block block;
};

namespace {

void check_utf8(std::string_view text, const std::string& what) {
  if (size_t valid = valid_utf8_prefix(text); valid < text.size()) {
    throw Error(Status::INVALID_ARGUMENT, concat(what, " is not UTF-8 at byte ", valid));
  }
}

bool is_plain_word(std::string_view role) {
  return std::all_of(role.begin(), role.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
}

Value message_value(jinja::Runtime& runtime, const ChatMessage& message, size_t number) {
  std::string what = concat("message ", number);
  check_utf8(message.role, concat("the role of ", what));
  check_utf8(message.content, concat("the content of ", what));
  auto fields = runtime.new_dict();
  auto put = [&](std::string_view name, Value value) {
    runtime.put(*fields, runtime.string(name, Origin::from_template), std::move(value));
  };
  put("role", runtime.string(message.role, is_plain_word(message.role) ? Origin::from_template
                                                                       : Origin::from_message));
  put("content", runtime.string(message.content, Origin::from_message));
  if (!message.fields_json.empty()) {
    Value more = jinja::parse_json_object(runtime, message.fields_json,
                                          concat("fields_json of ", what));
    for (const auto& [key, value] : more.as_dict().entries) runtime.put(*fields, key, value);
  }
  return std::shared_ptr<const jinja::Dict>(std::move(fields));
}

MarkedText render_marked(const jinja::Block& program, const TemplateLimits& limits,
                         const TemplateInput& input) {
  jinja::Meter meter(limits, jinja::evaluation_depth(limits));
  jinja::Runtime runtime(meter, input.now);
  jinja::Interpreter interpreter(runtime);

  std::vector<Value> messages;
  for (const ChatMessage& message : input.messages) {
    messages.push_back(message_value(runtime, message, messages.size()));
  }
  check_utf8(input.bos_token, "bos_token");
  check_utf8(input.eos_token, "eos_token");
  interpreter.define("messages", runtime.list(std::move(messages)));
  interpreter.define("add_generation_prompt", input.add_generation_prompt);
  interpreter.define("bos_token", runtime.string(input.bos_token, Origin::from_template));
  interpreter.define("eos_token", runtime.string(input.eos_token, Origin::from_template));
  // Templates expect these two to be there, as Hugging Face's apply_chat_template has it.
  interpreter.define("tools", jinja::None{});
  interpreter.define("documents", jinja::None{});
  Value arguments;
  if (!input.arguments_json.empty()) {
    arguments = jinja::parse_json_object(runtime, input.arguments_json, "arguments");
    for (const auto& [name, value] : arguments.as_dict().entries) {
      interpreter.define(name.as_view(), value);
    }
  }
  return interpreter.run(program);
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, TemplateLimits limits) {
  jinja::Block block = jinja::parse_template(source, limits);
  program_.reset(new Program{std::move(source), limits, std::move(block)});
}

ChatTemplate::~ChatTemplate() = default;

std::vector<TemplatePiece> ChatTemplate::render(const TemplateInput& input) const {
  std::vector<TemplatePiece> pieces;
  render_marked(program_->block, program_->limits, input)
      .for_each_run([&](std::string_view text, Origin origin) {
        pieces.push_back({std::string(text), origin == Origin::from_message});
      });
  return pieces;
}

std::string ChatTemplate::render_text(const TemplateInput& input) const {
  return std::string(render_marked(program_->block, program_->limits, input).view());
}

const std::string& ChatTemplate::source() const { return program_->source; }

}  // namespace kvi
