// Checks the settings of engines and requests, whoever made them: one place knows every range.
//
// What depends on the model's size or the pool's is left to the engine.
#pragma once

#include "engine/options.h"
#include "engine/plan.h"

namespace kvi {

// Throw INVALID_ARGUMENT naming the option as the C header does, its value and its range.
void validate(const EngineOptions& options);
void validate(const GenerateOptions& options, int vocab_size);
void validate(const PlanOptions& options);
void validate(const ModelShape& shape);

}  // namespace kvi
