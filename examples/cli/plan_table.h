// The table of kvinfer plan --table.
#pragma once

#include <cstdint>

namespace cli {

// Prints, in Markdown, what the named shapes take in 16-bit weights and K and V, and how many sequences fit
// a share of memory_bytes.
void print_plan_table(uint64_t memory_bytes, double utilization);

}  // namespace cli
