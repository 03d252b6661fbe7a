#include "support/template_goldens.h"

#include <cstdlib>

#include "base/file.h"

namespace kvi {
namespace {

using Json = nlohmann::ordered_json;

void add_messages(TemplateInput& input, const Json& messages) {
  for (const Json& message : messages) {
    ChatMessage& added = input.messages.emplace_back();
    Json more = Json::object();
    for (const auto& [key, value] : message.items()) {
      if (key == "role") {
        added.role = value;
      } else if (key == "content" && value.is_string()) {
        added.content = value;
      } else {
        more[key] = value;
      }
    }
    if (!more.empty()) added.fields_json = more.dump();
  }
  input.bos_token = "<s>";
  input.eos_token = "</s>";
}

}  // namespace

Json read_template_goldens() {
  const char* other = std::getenv("KVINFER_TEMPLATE_GOLDENS");
  std::string path = other ? other : std::string(KVINFER_TEST_DATA) + "/goldens/templates.json";
  return Json::parse(File::read_all(path, uint64_t{1} << 30));
}

std::string read_model_template(const std::string& name) {
  return File::read_all(std::string(KVINFER_TEST_DATA) + "/models/templates/" + name + ".jinja",
                        1 << 20);
}

TemplateInput golden_input(const Json& goldens, const Json& golden) {
  TemplateInput input;
  add_messages(input, goldens["conversations"][golden["conversation"].get<std::string>()]);
  input.arguments_json = goldens["arguments"][golden["arguments"].get<std::string>()].dump();
  input.add_generation_prompt = golden["add_generation_prompt"];
  if (golden.contains("now")) input.now = golden["now"].get<int64_t>();
  return input;
}

TemplateInput snippet_input(const Json& goldens) {
  TemplateInput input;
  add_messages(input, goldens["messages"]);
  input.arguments_json = goldens["variables"].dump();
  input.now = goldens["now"].get<int64_t>();
  return input;
}

}  // namespace kvi
