#include "cache/plan.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace kvi {
namespace {

constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

uint64_t round_up(uint64_t bytes, uint64_t unit) {
  return saturating_multiply(bytes / unit + (bytes % unit != 0), unit);
}

// The largest value in [0, high] that fits, where whatever is smaller than a value that fits does too.
template <typename Fits>
uint64_t largest(uint64_t high, const Fits& fits) {
  uint64_t low = 0;
  while (low < high) {
    const uint64_t middle = high - (high - low) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

uint64_t saturating_add(uint64_t a, uint64_t b) { return a > kAll - b ? kAll : a + b; }

uint64_t saturating_multiply(uint64_t a, uint64_t b) {
  return b != 0 && a > kAll / b ? kAll : a * b;
}

uint64_t KvDemand::bytes_per_token() const {
  uint64_t bytes = 0;
  for (const PlannedGroup& group : groups) bytes = saturating_add(bytes, group.token_bytes);
  return bytes;
}

uint64_t KvDemand::bytes_per_page() const {
  uint64_t bytes = 0;
  for (const PlannedGroup& group : groups) bytes = saturating_add(bytes, group.page_bytes);
  return bytes;
}

uint64_t KvDemand::resting_pages(const PlannedGroup& group, uint64_t len) const {
  const uint64_t pages = pages_for(len);
  return group.window == 0 ? pages : std::min(pages, pages_for(group.window) + 1);
}

uint64_t KvDemand::prefill_pages(const PlannedGroup& group, uint64_t len) const {
  if (group.window == 0) return 0;
  const uint64_t peak = std::min(pages_for(len), pages_for(group.window + chunk) + 1);
  return peak - resting_pages(group, len);
}

uint64_t KvDemand::bytes_per_sequence(uint64_t len) const {
  uint64_t bytes = state_bytes;
  for (const PlannedGroup& group : groups) {
    bytes = saturating_add(bytes, saturating_multiply(resting_pages(group, len), group.page_bytes));
  }
  return bytes;
}

uint64_t KvDemand::prefill_bytes(uint64_t len) const {
  uint64_t bytes = 0;
  for (const PlannedGroup& group : groups) {
    bytes = saturating_add(bytes, saturating_multiply(prefill_pages(group, len), group.page_bytes));
  }
  return bytes;
}

uint64_t KvDemand::bytes_for(uint64_t num_sequences, uint64_t len) const {
  if (num_sequences == 0) return 0;
  if (num_sequences == 1) return alone_bytes(len);
  uint64_t bytes = round_up(saturating_multiply(num_sequences, state_bytes), granule_bytes);
  for (const PlannedGroup& group : groups) {
    const uint64_t pages = saturating_add(
        saturating_multiply(num_sequences, resting_pages(group, len)), prefill_pages(group, len));
    bytes = saturating_add(bytes,
                           round_up(saturating_multiply(pages, group.page_bytes), granule_bytes));
  }
  return bytes;
}

// At the end of each chunk but the last, windows lie alike in their pages again after page_len chunks at
// most, while the other groups grow: the last so many hold the peak.
uint64_t KvDemand::alone_bytes(uint64_t len) const {
  const auto sum = [&](const auto& num_pages) {
    uint64_t bytes = round_up(state_bytes, granule_bytes);
    for (const PlannedGroup& group : groups) {
      bytes = saturating_add(
          bytes, round_up(saturating_multiply(num_pages(group), group.page_bytes), granule_bytes));
    }
    return bytes;
  };
  uint64_t most = sum([&](const PlannedGroup& group) { return resting_pages(group, len); });
  const uint64_t num_chunks = (len + chunk - 1) / chunk;
  for (uint64_t c = num_chunks - std::min(num_chunks, page_len + 1); c < num_chunks; ++c) {
    const uint64_t first = c * chunk, end = std::min(len, first + chunk);
    most = std::max(most, sum([&](const PlannedGroup& group) {
                      const bool slides = group.window != 0 && first > group.window;
                      return pages_for(end) - (slides ? (first - group.window) / page_len : 0);
                    }));
  }
  return most;
}

uint64_t KvDemand::max_sequences(uint64_t budget_bytes, uint64_t len) const {
  const uint64_t each = bytes_per_sequence(len);
  KVI_CHECK(each > 0);
  return largest(budget_bytes / each,
                 [&](uint64_t count) { return bytes_for(count, len) <= budget_bytes; });
}

uint64_t KvDemand::max_len(uint64_t budget_bytes, uint64_t num_sequences) const {
  return largest(kMaxPlannedLen,
                 [&](uint64_t len) { return bytes_for(num_sequences, len) <= budget_bytes; });
}

uint64_t KvDemand::shared_prefix_bytes(uint64_t prefix_len, uint64_t num_users) const {
  if (num_users == 0) return 0;
  return saturating_multiply(token_bytes(prefix_len), num_users - 1);
}

uint64_t KvDemand::len_exceeding(uint64_t bytes) const {
  const auto fits = [&](uint64_t len) {
    return saturating_add(state_bytes, token_bytes(len)) <= bytes;
  };
  const uint64_t most = largest(kAll - 1, fits);
  return most == kAll - 1 ? 0 : most + 1;
}

uint64_t KvDemand::token_bytes(uint64_t len) const {
  uint64_t bytes = 0;
  for (const PlannedGroup& group : groups) {
    const uint64_t tokens = group.window == 0 ? len : std::min(len, group.window);
    bytes = saturating_add(bytes, saturating_multiply(tokens, group.token_bytes));
  }
  return bytes;
}

}  // namespace kvi
