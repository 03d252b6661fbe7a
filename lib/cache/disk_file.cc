#include "cache/disk_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace kvi {
namespace {

bool same_record(const PageRecord& a, const PageRecord& b) {
  return a.key == b.key && a.parent == b.parent && a.scope == b.scope && a.group == b.group &&
         a.first_token == b.first_token && std::ranges::equal(a.tokens, b.tokens);
}

}  // namespace

DiskFile::DiskFile(std::string path, const DiskFormat& format, int num_slots)
    : path_(std::move(path)),
      format_(format),
      num_slots_(num_slots),
      header_(std::max(kSector, format.header_bytes)) {}

void DiskFile::close() {
  file_.reset();
  slots_.clear();
  used_bytes_ = 0;
}

IoFailure DiskFile::read_at(uint64_t offset, std::span<std::byte> bytes) {
  const int error = read_exact(*file_, offset, bytes);
  return error == 0 ? IoFailure{} : failed("read", error);
}

IoFailure DiskFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  const int error = write_exact(*file_, offset, bytes);
  return error == 0 ? IoFailure{} : failed("write", error);
}

IoFailure DiskFile::open(FileSystem& files, KeepPages keep) {
  close();
  std::vector<std::byte> expected(kSector);
  encode_file_header(format_, expected);
  auto opened = files.open(path_, OpenMode::write);
  if (!opened.ok()) return failed("open", opened.error);
  file_ = std::move(opened.value);
  const auto give_up = [&](IoFailure failure) {
    close();
    return failure;
  };

  const auto info = file_->info();
  if (!info.ok()) return give_up(failed("stat", info.error));
  uint64_t size = info.value.size_bytes;
  if (size > 0) {
    const std::span found(header_.data(), kSector);
    const bool is_ours = keep == KeepPages::yes && size >= kSector && !read_at(0, found) &&
                         std::ranges::equal(found, expected);
    const uint64_t kept = is_ours ? std::min(size, format_.offset(num_slots_)) : 0;
    if (kept < size) {
      if (int error = file_->truncate(kept)) return give_up(failed("truncate", error));
      size = kept;
    }
  }
  // Also where it is right already: the time of the file's last change is that of its last use.
  if (IoFailure failure = write_at(0, expected)) return give_up(failure);

  // Asks about the second half of the header, which is zero.
  has_holes_ = file_->punch_hole(kSector / 2, kSector / 2) == 0;
  const uint64_t in_slots = size > kSector ? size - kSector : 0;
  slots_.assign((in_slots + format_.slot_bytes - 1) / format_.slot_bytes, {true, true});
  used_bytes_ = format_.offset(static_cast<SlotId>(slots_.size()));
  next_generation_ = 1;
  return {};
}

bool DiskFile::is_damaged() {
  const auto info = file_->info();
  return info.ok() && (info.value.num_links == 0 || info.value.size_bytes < kSector);
}

IoFailure DiskFile::scan(uint64_t most_bytes, const Visitor& visitor) {
  IoFailure first;
  const auto note = [&](IoFailure failure) {
    if (failure && !first) first = failure;
    return static_cast<bool>(failure);
  };
  const std::span header(header_.data(), format_.header_bytes);
  const SlotId end = static_cast<SlotId>(slots_.size());
  SlotId first_free = 0;  // of a run of slots without a page
  uint64_t kept_bytes = kSector;
  for (SlotId slot = 0; slot < end; ++slot) {
    const bool was_read = !note(read_at(format_.offset(slot), header));
    const auto found = was_read ? decode_slot_header(format_, slot, header) : std::nullopt;
    if (found) next_generation_ = std::max(next_generation_, found->generation + 1);
    const uint64_t with_slot = has_holes_ ? kept_bytes + format_.slot_bytes
                                          : format_.offset(slot + 1);
    if (found && with_slot <= most_bytes) {
      note(free_slots(first_free, slot));
      first_free = slot + 1;
      kept_bytes = with_slot;
      visitor(slot, found->record);
    } else if (found) {
      note(invalidate(slot));
    } else {
      slots_[slot].maybe_valid = false;
    }
  }
  note(free_slots(first_free, end));
  note(drop_free_tail());
  return first;
}

uint64_t DiskFile::bytes_to_write(SlotId slot) const {
  const size_t after = static_cast<size_t>(slot) + 1;
  if (after <= slots_.size()) return slots_[slot].allocated ? 0 : format_.slot_bytes;
  return has_holes_ ? format_.slot_bytes : (after - slots_.size()) * format_.slot_bytes;
}

// Before anything is written there, so that what a failed write leaves behind is counted too.
void DiskFile::allocate(SlotId slot) {
  const uint64_t more = bytes_to_write(slot);
  const size_t after = static_cast<size_t>(slot) + 1;
  if (after > slots_.size()) slots_.resize(after, {!has_holes_, false});
  slots_[slot].allocated = true;
  used_bytes_ += more;
}

IoFailure DiskFile::invalidate(SlotId slot) {
  if (!slots_[slot].maybe_valid) return {};
  std::ranges::fill(header_, std::byte{0});
  const std::span<const std::byte> zeros(header_.data(), format_.header_bytes);
  if (IoFailure failure = write_at(format_.offset(slot), zeros)) return failure;
  slots_[slot].maybe_valid = false;
  return {};
}

IoFailure DiskFile::free_slots(SlotId begin, SlotId end) {
  if (begin == end || !has_holes_) return {};
  const uint64_t num_bytes = static_cast<uint64_t>(end - begin) * format_.slot_bytes;
  if (int error = file_->punch_hole(format_.offset(begin), num_bytes)) {
    return failed("punch hole", error);
  }
  for (SlotId slot = begin; slot < end; ++slot) {
    used_bytes_ -= slots_[slot].allocated ? format_.slot_bytes : 0;
    slots_[slot] = {};
  }
  return {};
}

IoFailure DiskFile::drop_free_tail() {
  size_t kept = slots_.size();
  // Without holes a slot counts until the file ends before it, but nothing keeps the file from that.
  while (kept > 0 && !(has_holes_ ? slots_[kept - 1].allocated : slots_[kept - 1].maybe_valid)) {
    --kept;
  }
  if (kept == slots_.size()) return {};
  if (int error = file_->truncate(format_.offset(static_cast<SlotId>(kept)))) {
    return failed("truncate", error);
  }
  for (size_t slot = kept; slot < slots_.size(); ++slot) {
    used_bytes_ -= slots_[slot].allocated ? format_.slot_bytes : 0;
  }
  slots_.resize(kept);
  return {};
}

IoFailure DiskFile::write(SlotId slot, const PageRecord& record, std::span<const std::byte> page) {
  allocate(slot);
  const uint64_t generation = next_generation_++;
  IoFailure failure = invalidate(slot);
  if (!failure) failure = write_at(format_.offset(slot) + format_.header_bytes, page);
  if (!failure) {
    const Checksum sum = page_checksum(format_, slot, generation, page);
    const std::span header(header_.data(), format_.header_bytes);
    encode_slot_header(format_, slot, record, generation, sum, header);
    slots_[slot].maybe_valid = true;
    failure = write_at(format_.offset(slot), header);
  }
  // Half a page is worth nothing; if its space cannot be given back either, it stays counted.
  if (failure) static_cast<void>(discard(slot));
  return failure;
}

IoFailure DiskFile::discard(SlotId slot) {
  if (static_cast<size_t>(slot) >= slots_.size() || !slots_[slot].allocated) return {};
  if (IoFailure failure = invalidate(slot)) return failure;
  if (IoFailure failure = free_slots(slot, slot + 1)) return failure;
  return drop_free_tail();
}

DiskFile::Found DiskFile::read(SlotId slot, const PageRecord& expected, std::span<std::byte> page,
                               IoFailure& failure) {
  if (static_cast<size_t>(slot) >= slots_.size() || !slots_[slot].maybe_valid) {
    return Found::mismatch;
  }
  const std::span header(header_.data(), format_.header_bytes);
  failure = read_at(format_.offset(slot), header);
  if (failure) return Found::failure;
  const auto found = decode_slot_header(format_, slot, header);
  if (!found || !same_record(found->record, expected)) return Found::mismatch;
  failure = read_at(format_.offset(slot) + format_.header_bytes, page);
  if (failure) return Found::failure;
  return page_checksum(format_, slot, found->generation, page) == found->page_checksum
             ? Found::page
             : Found::mismatch;
}

}  // namespace kvi
