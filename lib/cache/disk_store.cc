#include "cache/disk_store.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "cache/disk_folder.h"

namespace kvi {
namespace {

constexpr int64_t kShortestRestUs = 1'000'000;
constexpr int64_t kLongestRestUs = 60'000'000;

bool is_other_kind(int error) { return error == ELOOP || error == EISDIR || error == EINVAL; }

std::string describe(const IoFailure& failure) {
  return concat(quoted(*failure.path, 400), ": ", failure.call, ": ", errno_text(failure.error));
}

}  // namespace

std::string DiskStore::file_name(const Digest& identity, int group) {
  return concat(to_hex(std::span(identity).first(8)), ".g", group, kSuffix);
}

DiskStore::DiskStore(DiskStoreOptions options, std::shared_ptr<FileSystem> files,
                     std::shared_ptr<Clock> clock)
    : folder_(std::move(options.folder)),
      lock_path_(folder_ + "/lock"),
      capacity_bytes_(options.capacity_bytes),
      files_(std::move(files)),
      clock_(std::move(clock)) {
  std::vector<DiskFormat> formats;
  uint64_t headers = 0, least = 0;
  for (const TierGroup& group : options.groups) {
    formats.emplace_back(options.identity, static_cast<int>(formats.size()), group, options.parts);
    headers += kSector;
    least += kSector + formats.back().slot_bytes;
  }
  if (capacity_bytes_ < least) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("a disk tier of ", capacity_bytes_,
                       " bytes is too small for one page of each layer group (", least,
                       " bytes); raise its capacity"))
        .amounts(least, capacity_bytes_);
  }
  groups_.reserve(formats.size());  // failures point to the paths inside
  for (const DiskFormat& format : formats) {
    const uint64_t num_slots = (capacity_bytes_ - headers) / format.slot_bytes;
    groups_.emplace_back(
        concat(folder_, "/", file_name(options.identity, format.group)), format,
        static_cast<int>(std::min<uint64_t>(num_slots, std::numeric_limits<SlotId>::max())));
  }
  stats_.capacity_bytes = capacity_bytes_;
}

std::unique_ptr<DiskStore> DiskStore::open(DiskStoreOptions options,
                                           std::shared_ptr<FileSystem> files,
                                           std::shared_ptr<Clock> clock) {
  std::unique_ptr<DiskStore> store(
      new DiskStore(std::move(options), std::move(files), std::move(clock)));
  const std::string folder = quoted(store->folder_, 400);
  prepare_folder(*store->files_, store->folder_);
  auto locked = lock_file(*store->files_, store->lock_path_);
  if (locked.error == EWOULDBLOCK) {
    throw Error(Status::BUSY,
                concat("the disk tier's folder ", folder,
                       " is in use by another engine or process, which has locked ",
                       quoted(store->lock_path_, 400), "; this engine runs without the disk tier"))
        .retryable();
  }
  if (!locked.ok()) {
    throw Error(
        is_other_kind(locked.error) ? Status::INVALID_ARGUMENT : Status::IO,
        concat("cannot lock ", quoted(store->lock_path_, 400), ": ", errno_text(locked.error)));
  }
  store->lock_ = std::move(locked.value);
  store->make_room(store->groups_.size() * kSector);
  for (DiskFile& file : store->groups_) {
    const IoFailure failure = file.open(*store->files_, DiskFile::KeepPages::yes);
    if (failure && is_other_kind(failure.error)) {
      throw Error(
          Status::INVALID_ARGUMENT,
          concat(describe(failure),
                 "; a page file must be a regular file: remove it, or name another folder"));
    }
    if (store->note(failure)) store->rest();
  }
  store->publish_used_bytes();
  return store;
}

void DiskStore::scan(const Visitor& visitor) {
  uint64_t left = capacity_bytes_ - groups_.size() * kSector;
  for (DiskFile& file : groups_) {
    if (!file.is_open()) {
      foreign_is_known_ = false;
      continue;
    }
    note(file.scan(left + kSector, visitor));
    left -= std::min(left, file.used_bytes() - kSector);
  }
  is_scanned_ = true;
  make_room(0);
  publish_used_bytes();
}

int DiskStore::num_slots(int group) const { return groups_[group].num_slots(); }

uint64_t DiskStore::used_bytes() const {
  uint64_t bytes = foreign_bytes_;
  for (const DiskFile& file : groups_) bytes += file.used_bytes();
  return bytes;
}

DiskFile* DiskStore::find(int group, SlotId slot, const PageRecord* record, size_t num_bytes) {
  if (!is_scanned_ || group < 0 || static_cast<size_t>(group) >= groups_.size()) return nullptr;
  DiskFile& file = groups_[group];
  if (slot < 0 || slot >= file.num_slots()) return nullptr;
  const DiskFormat& format = file.format();
  if (record != nullptr &&
      (num_bytes != format.page_bytes || record->tokens.empty() ||
       record->tokens.size() > static_cast<size_t>(format.page_len) || record->first_token < 0)) {
    return nullptr;
  }
  return &file;
}

// The lock may have been deleted, and another process may have made and locked a new one: what the files
// hold since then is unknown.
bool DiskStore::still_owns_folder() {
  if (has_ended_) return false;
  if (lock_ != nullptr) {
    const auto info = lock_->info();
    if (!info.ok() || info.value.num_links > 0) return true;
  }
  lock_.reset();
  for (DiskFile& file : groups_) close(file);
  auto locked = lock_file(*files_, lock_path_);
  if (note({locked.ok() ? nullptr : "lock", locked.error, &lock_path_})) return false;
  lock_ = std::move(locked.value);
  return true;
}

bool DiskStore::is_usable(DiskFile& file) {
  if (!still_owns_folder()) return false;
  if (file.is_open() && !file.is_damaged()) return true;
  close(file);
  if (!make_room(kSector)) return false;
  foreign_is_known_ = false;  // it counted as foreign, if it was there
  // What may be there now is not what the cache remembers.
  return !note(file.open(*files_, DiskFile::KeepPages::no));
}

void DiskStore::close(DiskFile& file) {
  file.close();
  foreign_is_known_ = false;
}

bool DiskStore::make_room(uint64_t num_bytes) {
  if (!foreign_is_known_) count_foreign_files();
  if (!fits(num_bytes) && foreign_bytes_ > 0) delete_foreign_files(num_bytes);
  return foreign_is_known_ && fits(num_bytes);
}

bool DiskStore::fits(uint64_t num_bytes) const {
  const uint64_t used = used_bytes();
  return used <= capacity_bytes_ && num_bytes <= capacity_bytes_ - used;
}

// Also our own files that could not be opened: we do not know what they hold.
std::vector<DiskStore::ForeignFile> DiskStore::count_foreign_files() {
  std::vector<ForeignFile> found;
  foreign_bytes_ = 0;
  foreign_is_known_ = false;
  const auto names = files_->list(folder_);
  bool all_known = !note({names.ok() ? nullptr : "list", names.error, &folder_});
  for (const std::string& name : names.value) {
    std::string path = concat(folder_, "/", name);
    const bool counts_itself = std::ranges::any_of(groups_, [&](const DiskFile& ours) {
      return ours.path() == path && (ours.is_open() || !is_scanned_);
    });
    if (!name.ends_with(kSuffix) || counts_itself) continue;
    const auto info = files_->info(path);
    if (info.error == ENOENT || (info.ok() && info.value.kind != FileKind::regular)) continue;
    if (note({info.ok() ? nullptr : "stat", info.error, &folder_})) all_known = false;
    foreign_bytes_ += info.value.allocated_bytes;
    found.push_back({std::move(path), info.value.allocated_bytes, info.value.modified_us});
  }
  foreign_is_known_ = all_known;
  return found;
}

void DiskStore::delete_foreign_files(uint64_t num_bytes) {
  std::vector<ForeignFile> found = count_foreign_files();
  std::ranges::sort(found, {}, &ForeignFile::modified_us);
  for (const ForeignFile& file : found) {
    if (fits(num_bytes)) return;
    const int error = files_->unlink(file.path);
    if (!note({error == 0 ? nullptr : "unlink", error, &folder_})) {
      foreign_bytes_ -= file.num_bytes;
    }
  }
}

DiskStore::Outcome DiskStore::keep(SlotId slot, const PageRecord& record,
                                   std::span<const std::byte> page) {
  DiskFile* file = find(record.group, slot, &record, page.size());
  if (file == nullptr || is_resting()) return Outcome::refused;
  if (!is_usable(*file)) return Outcome::failed;
  if (!make_room(file->bytes_to_write(slot))) return Outcome::refused;
  return note(file->write(slot, record, page)) ? Outcome::failed : Outcome::done;
}

bool DiskStore::write(SlotId slot, const PageRecord& record,
                      std::span<const std::byte> page) noexcept {
  Outcome outcome = Outcome::failed;
  try {
    outcome = keep(slot, record, page);
  } catch (const std::bad_alloc&) {  // a miss, like every other failure of a tier
    note({"allocate memory", ENOMEM, &folder_});
  }
  publish_used_bytes();
  if (outcome == Outcome::failed) rest();
  const std::lock_guard lock(mutex_);
  if (outcome == Outcome::refused) ++stats_.num_refused;
  if (outcome != Outcome::done) return false;
  rest_us_ = 0;
  ++stats_.num_written;
  stats_.bytes_written += page.size();
  return true;
}

DiskFile::Found DiskStore::fetch(SlotId slot, const PageRecord& expected,
                                 std::span<std::byte> page) {
  DiskFile* file = find(expected.group, slot, &expected, page.size());
  if (file == nullptr || !file->is_open()) return DiskFile::Found::mismatch;
  if (file->is_damaged()) {
    close(*file);  // which gives the space of a deleted file back
    return DiskFile::Found::mismatch;
  }
  IoFailure failure;
  const DiskFile::Found found = file->read(slot, expected, page, failure);
  note(failure);
  return found;
}

bool DiskStore::read(SlotId slot, const PageRecord& expected, std::span<std::byte> page) noexcept {
  const DiskFile::Found found = fetch(slot, expected, page);
  publish_used_bytes();
  const std::lock_guard lock(mutex_);
  stats_.num_mismatches += found == DiskFile::Found::mismatch;
  if (found != DiskFile::Found::page) return false;
  ++stats_.num_read;
  stats_.bytes_read += page.size();
  return true;
}

void DiskStore::discard(int group, SlotId slot) noexcept {
  DiskFile* file = find(group, slot, nullptr, 0);
  if (file == nullptr || !still_owns_folder() || !file->is_open()) return;
  note(file->discard(slot));
  publish_used_bytes();
}

void DiskStore::end() noexcept {
  has_ended_ = true;
  for (DiskFile& file : groups_) close(file);
  lock_.reset();
}

bool DiskStore::is_resting() const {
  const std::lock_guard lock(mutex_);
  const int64_t rested_us = clock_->now_us() - rest_began_us_;
  return rest_us_ > 0 && rested_us >= 0 && rested_us < rest_us_;
}

void DiskStore::rest() {
  const std::lock_guard lock(mutex_);
  rest_began_us_ = clock_->now_us();
  rest_us_ = std::clamp(2 * rest_us_, kShortestRestUs, kLongestRestUs);
}

bool DiskStore::note(const IoFailure& failure) {
  if (!failure) return false;
  const std::lock_guard lock(mutex_);
  ++stats_.num_failures;
  last_failure_ = failure;
  return true;
}

void DiskStore::publish_used_bytes() {
  const std::lock_guard lock(mutex_);
  stats_.used_bytes = used_bytes();
}

TierStats DiskStore::stats() const {
  const bool resting = is_resting();
  const std::lock_guard lock(mutex_);
  TierStats stats = stats_;
  stats.resting = resting;
  if (last_failure_) stats.last_failure = describe(last_failure_);
  return stats;
}

}  // namespace kvi
