// Reads request traces in Mooncake's published format: one JSON object a line,
//   {"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [46, 47, ...]}
// with times in milliseconds, lengths in tokens, and one hash id for each 512 tokens of the prompt, which names the
// whole prompt up to there. (github.com/kvcache-ai/Mooncake; Qin et al., FAST 2025.)
//
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvi {

constexpr int64_t kTraceBlockTokens = 512;

struct TraceRequest {
  double timestamp_ms = 0;
  int64_t input_length = 0;   // tokens
  int64_t output_length = 0;  // tokens
  std::vector<int64_t> hash_ids;
};

// Empty lines are passed over; timestamp and output_length may be left out. Throws CORRUPT, which names the line,
// where a line is no such object; name stands for the file in messages.
std::vector<TraceRequest> parse_trace(std::string_view text, const std::string& name);
// Throws also NOT_FOUND, IO, INVALID_ARGUMENT where path is not a regular file, and UNSUPPORTED above 4 GiB.
std::vector<TraceRequest> read_trace_file(const std::string& path);

// How many different blocks the requests name.
int64_t count_unique_blocks(const std::vector<TraceRequest>& trace);

}  // namespace kvi
