// The outcome of an operation: the statuses of the C ABI as a scoped enum.
//
// kvinfer.h owns the list; nothing here may differ from it.
#pragma once

#include <cstdint>

#include "kvinfer/kvinfer.h"

namespace kvi {

enum class Status : int32_t {
#define KVI_STATUS_CLASS(name, value, text) name = value,
  KVI_STATUS_MAP(KVI_STATUS_CLASS)
#undef KVI_STATUS_CLASS
};

const char* status_name(Status status);  // "CONTEXT_FULL"; "UNKNOWN" outside the list

}  // namespace kvi
