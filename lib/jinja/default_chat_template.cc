// Chat templates for models whose files have none, by family. Our own words, after the formats that
// the models' makers published.
#include <string_view>

#include "jinja/chat_template.h"

namespace kvi {
namespace {

// Turns of user and model; a system message opens the first user turn.
constexpr const char kGemma[] = R"({{ bos_token }}
{%- set ns = namespace(preface='', turn=0) %}
{%- for message in messages %}
    {%- if message.role == 'system' or message.role == 'developer' %}
        {%- if not loop.first %}{{ raise_exception('A system message must come first') }}{% endif %}
        {%- set ns.preface = message.content ~ '\n\n' %}
    {%- else %}
        {%- if (message.role == 'user') != (ns.turn % 2 == 0) %}
            {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
        {%- endif %}
        {{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\n' }}
        {{- ns.preface if ns.turn == 0 }}{{ message.content | trim }}{{ '<end_of_turn>\n' }}
        {%- set ns.turn = ns.turn + 1 %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}
)";

constexpr const char kChatMl[] = R"(
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
)";

constexpr const char kLlama3[] = R"({{ bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}
    {{- message.content | trim }}{{ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
)";

}  // namespace

const char* default_chat_template(std::string_view family) {
  if (family == "gemma") return kGemma;
  if (family == "chatml") return kChatMl;
  if (family == "llama3") return kLlama3;
  return nullptr;
}

}  // namespace kvi
