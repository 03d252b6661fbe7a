// A snapshot of metrics as Prometheus text, exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats).
//
// Where a number means what one of vLLM's means it has that name, "vllm:" included, so that dashboards
// and alerts made for vLLM work as they are; what vLLM has not begins with "kvinfer:". (The names are
// vLLM's current ones: https://docs.vllm.ai/en/stable/usage/metrics.)
//
// Thread-safe: a pure function.
#pragma once

#include <string>
#include <string_view>

#include "engine/metrics.h"

namespace kvi {

// Every sample carries the label model_name; ill-formed UTF-8 in it becomes U+FFFD.
std::string metrics_text(const MetricsSnapshot& metrics, std::string_view model_name);

}  // namespace kvi
