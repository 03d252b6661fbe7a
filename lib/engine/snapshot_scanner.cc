#include "engine/snapshot_scanner.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr size_t kPieceBytes = 16384;  // read at once where the length is only claimed

std::string hex(const Checksum& value) {
  std::array<uint8_t, sizeof value> bytes;
  std::memcpy(bytes.data(), value.data(), sizeof value);
  return to_hex(bytes);
}

std::string checksum_text(const std::string& what, const Checksum& found,
                          const Checksum& expected) {
  return concat("the checksum of ", what, " is ", hex(found), "; expected ", hex(expected));
}

template <typename T>
std::span<std::byte> writable_bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

}  // namespace

Checksum token_checksum(uint64_t seed, int64_t first, std::span<const TokenId> run) {
  RunningChecksum checksum(seed);
  checksum.update(stored_bytes(first));
  checksum.update(std::as_bytes(run));
  return checksum.value();
}

void SnapshotScanner::stop(SnapshotStop stop, std::string text) {
  if (reason_.stop == SnapshotStop::complete) reason_ = {stop, std::move(text)};
}

SnapshotReason SnapshotScanner::reason_for(int64_t num_tokens) const {
  SnapshotReason reason = reason_;
  if (reason.stop != SnapshotStop::complete && order_ && order_->windows_end_it(num_tokens)) {
    reason.text +=
        "; the pages of a window end the whole sequence only, so no K and V of a shorter "
        "prefix can be used, but its tokens can";
  }
  return reason;
}

bool SnapshotScanner::read(std::span<std::byte> bytes, const std::string& what) {
  while (!bytes.empty()) {
    const size_t n = source_(bytes);
    if (n > bytes.size()) {
      throw Error(Status::INVALID_ARGUMENT, concat("the source of a snapshot says that it gave ", n,
                                                   " bytes; it was asked for ", bytes.size()));
    }
    if (n == 0) {
      stop(SnapshotStop::truncated, concat("the snapshot ends at byte ", num_read_, " in ", what,
                                           "; ", bytes.size(), " more bytes are expected there"));
      return false;
    }
    num_read_ += n;
    bytes = bytes.subspan(n);
  }
  return true;
}

bool SnapshotScanner::read_header() {
  SnapshotPreamble preamble = {};
  if (!read(writable_bytes_of(preamble.magic), "the magic number")) {
    // Of another kind of file it matters little that it is short.
    if (std::memcmp(preamble.magic, kSnapshotMagic, std::min<size_t>(num_read_, 8)) == 0) {
      return false;
    }
    reason_ = {};
  }
  if (std::memcmp(preamble.magic, kSnapshotMagic, sizeof kSnapshotMagic) != 0) {
    stop(SnapshotStop::not_a_snapshot,
         concat("the magic number is ", quoted({preamble.magic, sizeof preamble.magic}),
                "; expected ", quoted({kSnapshotMagic, sizeof kSnapshotMagic})));
    return false;
  }
  if (!read(writable_bytes_of(preamble).subspan(sizeof preamble.magic),
            "the version and the size of the header"))
    return false;
  if (preamble.header_bytes > kMaxSnapshotHeaderBytes) {
    stop(SnapshotStop::damaged_header, concat("the size of the header is ", preamble.header_bytes,
                                              "; expected at most ", kMaxSnapshotHeaderBytes));
    return false;
  }
  std::vector<std::byte> bytes;
  while (bytes.size() < preamble.header_bytes) {
    const size_t old_size = bytes.size();
    bytes.resize(std::min<size_t>(preamble.header_bytes, old_size + kPieceBytes));
    if (!read(std::span(bytes).subspan(old_size), "the header")) return false;
  }
  RunningChecksum checksum;
  checksum.update(stored_bytes(preamble));
  checksum.update(bytes);
  const Checksum expected = checksum.value();
  Checksum found;
  if (!read(writable_bytes_of(found), "the checksum of the header")) return false;
  if (found != expected) {
    stop(SnapshotStop::damaged_header, checksum_text("the header", found, expected));
    return false;
  }
  if (preamble.version != kSnapshotVersion) {
    stop(
        preamble.version > kSnapshotVersion ? SnapshotStop::newer_version
                                            : SnapshotStop::damaged_header,
        concat("the version of the format is ", preamble.version, "; expected ", kSnapshotVersion));
    return false;
  }
  header_ = decode_snapshot_header(bytes, reason_);
  if (!header_) return false;
  order_.emplace(*header_);
  seed_ = expected[0];
  return true;
}

bool SnapshotScanner::read_tokens(const std::function<void(std::span<const TokenId>)>& take) {
  std::array<TokenId, kSnapshotRunLen> buffer;
  bool intact = true;
  for (int64_t first = 0; first < header_->num_tokens; first += kSnapshotRunLen) {
    const auto run = std::span(buffer).first(
        static_cast<size_t>(std::min<int64_t>(kSnapshotRunLen, header_->num_tokens - first)));
    Checksum found;
    if (!read(std::as_writable_bytes(run), "the tokens") ||
        !read(writable_bytes_of(found), "the checksum of tokens")) {
      return false;
    }
    const Checksum expected = token_checksum(seed_, first, run);
    if (intact && found != expected) {
      stop(SnapshotStop::damaged_tokens,
           checksum_text(concat("tokens ", first, " to ", first + std::ssize(run) - 1), found,
                         expected));
      intact = false;
    }
    if (intact) take(run);
  }
  return true;
}

bool SnapshotScanner::read_page(std::span<std::byte> page) {
  const SnapshotPage expected = *order_->page();
  const std::string what = concat("page ", expected.index, " of group ", expected.group,
                                  " (record ", order_->num_before(), " of ", order_->num_pages(),
                                  ")");
  SnapshotRecord record;
  Checksum found;
  if (!read(writable_bytes_of(record), what) || !read(writable_bytes_of(found), what)) return false;
  const auto matches = [&](const char* field, uint64_t value, uint64_t wanted) {
    if (value == wanted) return true;
    stop(SnapshotStop::damaged_page,
         concat("the ", field, " of ", what, " is ", value, "; expected ", wanted));
    return false;
  };
  if (!matches("group", record.group, static_cast<uint64_t>(expected.group)) ||
      !matches("index", record.index, static_cast<uint64_t>(expected.index)) ||
      !matches("byte count", record.num_bytes, expected.num_bytes)) {
    return false;
  }
  KVI_CHECK(page.empty() || page.size() >= expected.num_bytes);

  RunningChecksum checksum(seed_);
  checksum.update(stored_bytes(record));
  std::array<std::byte, kPieceBytes> unwanted;
  for (uint64_t done = 0; done < expected.num_bytes;) {
    const uint64_t left = expected.num_bytes - done;
    const std::span<std::byte> piece = page.empty() ? std::span(unwanted).first(
                                                          std::min<uint64_t>(left, kPieceBytes))
                                                    : page.subspan(done, left);
    if (!read(piece, what)) return false;
    checksum.update(piece);
    done += piece.size();
  }
  if (found != checksum.value()) {
    stop(SnapshotStop::damaged_page, checksum_text(what, found, checksum.value()));
    return false;
  }
  order_->advance();
  return true;
}

bool SnapshotScanner::read_end() {
  std::byte unexpected;
  const size_t n = source_({&unexpected, 1});
  if (n == 0) return true;
  stop(SnapshotStop::trailing_bytes,
       concat("there are bytes after the last page, from byte ", num_read_, " on; expected none"));
  return false;
}

}  // namespace kvi
