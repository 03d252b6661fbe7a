#include "cache/foreign_pages.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/text.h"
#include "cache/disk_store.h"

namespace kvi {
namespace {

constexpr size_t kMostFiles = 64;
constexpr int64_t kMostSlots = 1 << 16;          // of all files: their keys take half a megabyte
constexpr uint64_t kMostHeaderBytes = 64 << 10;  // of a slot
constexpr int64_t kMostUs = 200'000;             // that somebody waits for

uint64_t word(const Digest& key) {
  uint64_t word;
  std::memcpy(&word, key.data(), sizeof word);
  return word;
}

bool has(const std::vector<uint64_t>& keys, const Digest& key) {
  return std::ranges::binary_search(keys, word(key));
}

}  // namespace

struct ForeignPages::Reading {
  int64_t until_us;
  int64_t slots_left = kMostSlots;
};

ForeignPages::ForeignPages(std::string folder, const Digest& identity, const IdentityParts& parts,
                           std::shared_ptr<FileSystem> files, std::shared_ptr<Clock> clock)
    : folder_(std::move(folder)),
      identity_(identity),
      parts_(parts),
      files_(std::move(files)),
      clock_(std::move(clock)) {}

MissReason ForeignPages::reason_for(const IdentityParts& parts) const {
  if (parts.model != parts_.model) return MissReason::model;
  if (parts.layout != parts_.layout) return MissReason::layout;
  if (parts.numerics != parts_.numerics) return MissReason::numerics;
  return MissReason::never_seen;
}

std::vector<std::string> ForeignPages::paths_by_use() const {
  std::vector<std::pair<int64_t, std::string>> found;  // by when they were changed
  const auto names = files_->list(folder_);
  for (const std::string& name : names.value) {
    if (!name.ends_with(DiskStore::kSuffix)) continue;
    std::string path = concat(folder_, "/", name);
    const auto info = files_->info(path);
    if (!info.ok() || info.value.kind != FileKind::regular) continue;
    found.emplace_back(-info.value.modified_us, std::move(path));
  }
  std::ranges::sort(found);
  std::vector<std::string> paths;
  for (auto& [time, path] : found) paths.push_back(std::move(path));
  return paths;
}

void ForeignPages::read_file(const std::string& path, Reading& reading,
                             std::vector<Identity>& identities) const {
  const auto opened = files_->open(path, OpenMode::read);
  if (!opened.ok()) return;
  OpenFile& file = *opened.value;
  const auto info = file.info();
  std::vector<std::byte> header(kSector);
  if (!info.ok() || read_exact(file, 0, header) != 0) return;
  const auto format = decode_file_header(header);
  if (!format || format->identity == identity_ || format->header_bytes > kMostHeaderBytes) return;
  const MissReason reason = reason_for(format->parts);
  if (reason == MissReason::never_seen) return;

  KeysOfFile found = {path, {}};
  header.resize(format->header_bytes);
  for (SlotId slot = 0; reading.slots_left > 0 && clock_->now_us() < reading.until_us &&
                        format->offset(slot) + format->header_bytes <= info.value.size_bytes;
       ++slot) {
    --reading.slots_left;
    if (read_exact(file, format->offset(slot), header) != 0) continue;
    const auto page = decode_slot_header(*format, slot, header);
    if (page) found.keys.push_back(word(page->record.key));
  }
  if (found.keys.empty()) return;
  std::ranges::sort(found.keys);
  const auto same = std::ranges::find_if(identities, [&](const Identity& other) {
    return other.root == format->identity && other.page_len == format->page_len &&
           other.reason == reason;
  });
  if (same != identities.end()) {
    same->files.push_back(std::move(found));
  } else {
    identities.push_back({format->identity, format->page_len, reason, {}});
    identities.back().files.push_back(std::move(found));
  }
}

std::vector<ForeignPages::Identity> ForeignPages::read_identities() const {
  std::vector<Identity> identities;
  Reading reading = {clock_->now_us() + kMostUs};
  std::vector<std::string> paths = paths_by_use();
  paths.resize(std::min(paths.size(), kMostFiles));
  for (const std::string& path : paths) read_file(path, reading, identities);
  std::ranges::stable_sort(identities, std::ranges::greater(), &Identity::reason);
  return identities;
}

// The file may have been deleted to make room for our own pages.
bool ForeignPages::is_there(const Identity& identity, const Digest& key) const {
  return std::ranges::any_of(identity.files, [&](const KeysOfFile& file) {
    return has(file.keys, key) && files_->info(file.path).ok();
  });
}

bool ForeignPages::has_page_at(const Identity& identity, const Digest& salt,
                               std::span<const TokenId> tokens, int position) const {
  const size_t last = static_cast<size_t>(position / identity.page_len);
  const auto page_len = static_cast<size_t>(identity.page_len);
  if ((last + 1) * page_len > tokens.size()) return false;
  const auto go_on = [&](const Digest& parent, size_t page) {
    return page_key(parent, tokens.subspan(page * page_len, page_len));
  };
  const auto ends_own = [&](const Digest& from, size_t first) {
    Digest key = enter_scope(from, salt);
    for (size_t page = first; page <= last; ++page) key = go_on(key, page);
    return is_there(identity, key);
  };
  // The operator's prefix, and where what it has of these tokens ends.
  Digest key = enter_scope(identity.root, kSharedScope), end_of_shared = {};
  size_t num_shared = 0;
  for (size_t page = 0; page <= last; ++page) {
    key = go_on(key, page);
    const bool is_shared = std::ranges::any_of(
        identity.files, [&](const KeysOfFile& file) { return has(file.keys, key); });
    if (!is_shared) continue;
    end_of_shared = key;
    num_shared = page + 1;
  }
  if (num_shared > last) return is_there(identity, key);
  return ends_own(identity.root, 0) || (num_shared > 0 && ends_own(end_of_shared, num_shared));
}

MissReason ForeignPages::why_missing(const Digest& salt, std::span<const TokenId> tokens,
                                     int position) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    if (!was_read_) {
      identities_ = read_identities();
      was_read_ = true;
    }
    for (const Identity& identity : identities_) {
      if (has_page_at(identity, salt, tokens, position)) return identity.reason;
    }
  } catch (const std::bad_alloc&) {  // as everything else that keeps us from reading
  }
  return MissReason::never_seen;
}

}  // namespace kvi
