// tests/goldens/templates.json and the templates of models, for tests of chat templates.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "jinja/chat_template.h"

namespace kvi {

// The committed file, or the one that KVINFER_TEMPLATE_GOLDENS names.
nlohmann::ordered_json read_template_goldens();
std::string read_model_template(const std::string& name);

// What a case of "models" was rendered with, and what snippets and random templates were.
TemplateInput golden_input(const nlohmann::ordered_json& goldens,
                           const nlohmann::ordered_json& golden);
TemplateInput snippet_input(const nlohmann::ordered_json& goldens);

}  // namespace kvi
