// Messages and template arguments of the C ABI, as the chat template takes them.
#pragma once

#include <cstddef>

#include "engine/loaded_model.h"
#include "jinja/chat_template.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// Throws INVALID_ARGUMENT, or UNSUPPORTED where the model has no template.
TemplateInput conversation_argument(const LoadedModel& model, const kvi_message* messages,
                                    size_t num_messages, const char* arguments,
                                    size_t arguments_size);

}  // namespace kvi::capi
