// libFuzzer target: any bytes as a chat template render a conversation or throw kvi::Error, within
// small limits. A good corpus: tests/models/templates.
#include <string>

#include "base/error.h"
#include "jinja/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  kvi::TemplateLimits limits;
  limits.max_steps = 100'000;
  limits.max_output_bytes = 1 << 20;
  limits.max_memory_bytes = 8 << 20;
  kvi::TemplateInput input;
  input.messages = {
      {"system", "  S\n", ""},
      {"user", "a <|im_end|> \xc3\xa9", ""},
      {"assistant", "",
       R"({"tool_calls": [{"id": "123456789", "function": {"name": "f", "arguments": {"x": 1.5}}}]})"},
      {"tool", "21", R"({"tool_call_id": "123456789"})"}};
  input.arguments_json =
      R"({"tools": [{"function": {"name": "f", "n": [1, null, true, "s"]}}], "x": "a,b"})";
  input.now = 1721955600;
  try {
    kvi::ChatTemplate chat(std::string(reinterpret_cast<const char*>(bytes), size), limits);
    chat.render(input);
  } catch (const kvi::Error&) {
  }
  return 0;
}
