// libFuzzer target: any bytes as a snapshot give a prefix that keeps to the target's limits, and a reason.
// The first byte says how: as they are, or as a header whose checksum holds and what comes after it; the second
// how long that header is.

#include <cstdlib>

#include "support/snapshot_sample.h"

namespace {

void expect(bool condition) {
  if (!condition) std::abort();
}

void read(const std::string& bytes, const kvi::SnapshotTarget& target) {
  std::vector<std::byte> page(1 << 12);
  kvi::SnapshotReader reader(kvi::source_of(bytes, 1000), target);
  int64_t num_pages = 0;
  while (const auto place = reader.read_page(page)) {
    expect(place->group < std::ssize(target.groups) && place->index >= 0);
    expect(place->num_bytes == target.groups[place->group].layout.page_bytes);
    ++num_pages;
  }
  expect(std::ssize(reader.tokens()) <= target.max_tokens);
  expect(reader.kv_len() <= std::ssize(reader.tokens()));
  expect(!reader.reason().text.empty());

  const kvi::SnapshotCheck check = kvi::verify_snapshot(kvi::source_of(bytes));
  expect(!check.reason.text.empty());
  expect(check.num_tokens >= std::ssize(reader.tokens()) && check.num_pages >= num_pages);
  expect(check.facts.header.has_value() || check.num_tokens == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const kvi::SnapshotTarget target =
      kvi::make_snapshot(kvi::sample_header(4, 37, 33, {0, 12}), 1).target();
  if (size < 2) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] % 2 == 1) {
    const size_t header_size = std::min<size_t>(data[1] * 4, bytes.size());
    const auto header = std::as_bytes(std::span(bytes)).first(header_size);
    bytes = kvi::sealed_header(header, kvi::kSnapshotVersion) + bytes.substr(header_size);
  }
  read(bytes, target);
  return 0;
}
