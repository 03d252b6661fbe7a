// Why tokens are not cached: what a probe answers, as the public header says it.
#pragma once

#include <cstdint>

namespace kvi {

enum class MissReason : uint8_t { none, tenant, model, layout, numerics, evicted, never_seen };

}  // namespace kvi
