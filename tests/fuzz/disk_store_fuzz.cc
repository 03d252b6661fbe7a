// libFuzzer target: whatever a page file holds, the disk tier opens it or starts anew, reads no page that
// fails its checksum, stays within its capacity, and then serves as if the file had been its own. Engines of
// another identity, who read it for its keys, find nothing that nobody wrote.
#include <cstring>

#include "cache/disk_store.h"
#include "cache/foreign_pages.h"
#include "fuzz/disk_store_layout.h"
#include "sim/manual_clock.h"
#include "sim/memory_file_system.h"

namespace kvi {
namespace {

constexpr uint64_t kCapacity = 10 * 8192 + kSector;

void require(bool condition) {
  if (!condition) __builtin_trap();
}

std::vector<std::byte> file_of(const DiskFormat& format, uint8_t flags,
                               std::span<const std::byte> input) {
  std::vector<std::byte> file;
  if (flags & kRaw) {
    file.assign(input.begin(), input.end());
  } else {
    file.resize(kSector);
    encode_file_header(format, file);
    for (SlotId slot = 0; !input.empty(); ++slot) {
      const auto part = input.first(std::min(input.size(), kSlotInput));
      input = input.subspan(part.size());
      file.resize(format.offset(slot + 1));
      const auto header = part.first(std::min(part.size(), kHeaderInput));
      std::memcpy(&file[format.offset(slot)], header.data(), header.size());
      std::memcpy(&file[format.offset(slot) + format.header_bytes], part.data() + header.size(),
                  part.size() - header.size());
    }
  }
  for (SlotId slot = 0; (flags & kSealed) && format.offset(slot) + kSector <= file.size(); ++slot) {
    seal_slot_header(format, slot, std::span(file).subspan(format.offset(slot), kSector));
  }
  return file;
}

void exercise(DiskStore& store, const MemoryFileSystem& files) {
  struct Found {
    SlotId slot;
    PageRecord record;
    std::vector<int32_t> tokens;
  };
  std::vector<Found> found;
  store.scan([&](SlotId slot, const PageRecord& record) {
    found.push_back({slot, record, {record.tokens.begin(), record.tokens.end()}});
  });
  std::vector<std::byte> bytes(kFuzzGroup.page_bytes);
  for (Found& page : found) {
    require(page.slot >= 0 && page.slot < store.num_slots(0) && page.record.group == 0 &&
            !page.tokens.empty() && page.tokens.size() <= 16);
    page.record.tokens = page.tokens;
    store.read(page.slot, page.record, bytes);
  }
  require(files.allocated_bytes() <= kCapacity);
  for (SlotId slot = 0; slot < store.num_slots(0); slot += 3) {
    const TestPage page(slot);
    const auto right = page.bytes(kFuzzGroup.page_bytes);
    const bool kept = store.write(slot, page.record(), right);
    require(store.read(slot, page.record(), bytes) == kept);
    require(!kept || bytes == right);
    if (slot % 2 == 1) store.discard(0, slot);
    require(files.allocated_bytes() <= kCapacity);
  }
  require(store.stats().used_bytes <= kCapacity);
}

// What nobody has written is nobody's.
void ask_as_another(const std::shared_ptr<MemoryFileSystem>& files) {
  ForeignPages pages("/f", test_digest(4, 99), {test_digest(4, 98), {}, {}}, files,
                     std::make_shared<ManualClock>());
  const std::vector<TokenId> tokens(100, 7);
  for (int position : {0, 50, 99}) {
    require(pages.why_missing(test_digest(4, 97), tokens, position) == MissReason::never_seen);
  }
}

}  // namespace
}  // namespace kvi

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const kvi::DiskFormat format = kvi::fuzz_format();
  const auto files = std::make_shared<kvi::MemoryFileSystem>();
  const auto clock = std::make_shared<kvi::ManualClock>();
  files->make_folder("/f");
  files->has_holes = (bytes[0] & kvi::kNoHoles) == 0;
  files->set_content("/f/" + kvi::DiskStore::file_name(format.identity, 0),
                     kvi::file_of(format, bytes[0], std::as_bytes(std::span(bytes + 1, size - 1))));
  kvi::ask_as_another(files);
  for (int life = 0; life < 2; ++life) {
    kvi::exercise(*kvi::DiskStore::open({"/f", kvi::kCapacity, format.identity, {kvi::kFuzzGroup}},
                                        files, clock),
                  *files);
  }
  return 0;
}
