// A FileSystem that passes calls on to another one, and lets chosen ones go wrong.
//
// Calls are counted from 1 since the last reset, over all files, so that a scenario can be run once to count
// them and then again with each of them failing. What a fault damages follows from the seed.
//
// Not thread-safe, and outlives the files that it opened.
#pragma once

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/random.h"
#include "sim/manual_clock.h"

namespace kvi {

enum class FileCall : uint8_t {
  any,
  open,
  read,
  write,
  info,
  truncate,
  allocate,
  punch_hole,
  sync,
  lock,
  rename,
  unlink,
  list,
  make_folder,
  sync_folder,
  free_bytes,
  count
};

struct Fault {
  enum class Kind : uint8_t {
    error,      // the call fails with `error`
    too_short,  // a read or write does a part of its bytes
    torn,  // a write keeps a prefix of whole sectors of 512 bytes, and then all calls fail: a crash
    bit_flip,  // one bit of what is read or written changes
    delay,     // the clock moves by delay_us, and all is well
    vanish,    // from here on: paths name nothing (ENOENT), and open files have been deleted
  };

  Kind kind = Kind::error;
  FileCall call = FileCall::any;
  int64_t nth = 1;        // of the calls of this kind
  bool for_ever = false;  // and all of them after it
  int error = EIO;
  int64_t delay_us = 0;
};

class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(std::shared_ptr<FileSystem> under, uint64_t seed = 1,
                            std::shared_ptr<ManualClock> clock = nullptr)
      : under_(std::move(under)), seed_(seed), clock_(std::move(clock)) {}

  void inject(const Fault& fault) { faults_.push_back(fault); }
  // No more faults, a crashed system runs again, what vanished is back, and calls are counted anew.
  void reset() {
    faults_.clear();
    num_calls_ = {};
    crashed_ = vanished_ = false;
  }
  int64_t num_calls(FileCall call = FileCall::any) const {
    return num_calls_[static_cast<size_t>(call)];
  }
  int64_t num_faults() const { return num_faults_; }  // that came true, since ever
  bool has_crashed() const { return crashed_; }

  IoResult<std::unique_ptr<OpenFile>> open(const std::string& path, OpenMode mode) override {
    if (int error = before(FileCall::open, true).error) return {error};
    auto opened = under_->open(path, mode);
    if (!opened.ok()) return opened;
    return {0, std::make_unique<Handle>(*this, std::move(opened.value))};
  }
  IoResult<FileInfo> info(const std::string& path) override {
    if (int error = before(FileCall::info, true).error) return {error};
    return under_->info(path);
  }
  int rename(const std::string& from, const std::string& to) override {
    if (int error = before(FileCall::rename, true).error) return error;
    return under_->rename(from, to);
  }
  int unlink(const std::string& path) override {
    if (int error = before(FileCall::unlink, true).error) return error;
    return under_->unlink(path);
  }
  IoResult<std::vector<std::string>> list(const std::string& folder) override {
    if (int error = before(FileCall::list, true).error) return {error};
    return under_->list(folder);
  }
  int make_folder(const std::string& path) override {
    if (int error = before(FileCall::make_folder, true).error) return error;
    return under_->make_folder(path);
  }
  int sync_folder(const std::string& path) override {
    if (int error = before(FileCall::sync_folder, true).error) return error;
    return under_->sync_folder(path);
  }
  IoResult<uint64_t> free_bytes(const std::string& folder) override {
    if (int error = before(FileCall::free_bytes, true).error) return {error};
    return under_->free_bytes(folder);
  }

 private:
  struct Verdict {
    int error = 0;
    bool too_short = false, torn = false, bit_flip = false;
  };

  class Handle final : public OpenFile {
   public:
    Handle(FaultyFileSystem& files, std::unique_ptr<OpenFile> under)
        : files_(files), under_(std::move(under)) {}

    IoResult<size_t> read(uint64_t offset, std::span<std::byte> dst) override {
      const Verdict verdict = files_.before(FileCall::read);
      if (verdict.error != 0) return {verdict.error};
      if (verdict.too_short && dst.size() > 1) dst = dst.first(1 + files_.draw(dst.size() - 1));
      auto result = under_->read(offset, dst);
      if (verdict.bit_flip && result.ok()) files_.flip(dst.first(result.value));
      return result;
    }
    IoResult<size_t> write(uint64_t offset, std::span<const std::byte> src) override {
      const Verdict verdict = files_.before(FileCall::write);
      if (verdict.error != 0) return {verdict.error};
      if (verdict.torn) {
        const size_t kept = files_.draw((src.size() + 511) / 512) * 512;
        if (kept > 0) under_->write(offset, src.first(kept));
        files_.crashed_ = true;
        return {EIO};
      }
      if (verdict.too_short && src.size() > 1) src = src.first(1 + files_.draw(src.size() - 1));
      if (!verdict.bit_flip) return under_->write(offset, src);
      std::vector<std::byte> damaged(src.begin(), src.end());
      files_.flip(damaged);
      return under_->write(offset, damaged);
    }
    IoResult<FileInfo> info() override {
      if (int error = files_.before(FileCall::info).error) return {error};
      auto result = under_->info();
      if (files_.vanished_) result.value.num_links = 0;
      return result;
    }
    int truncate(uint64_t num_bytes) override {
      const int error = files_.before(FileCall::truncate).error;
      return error != 0 ? error : under_->truncate(num_bytes);
    }
    int allocate(uint64_t offset, uint64_t num_bytes) override {
      const int error = files_.before(FileCall::allocate).error;
      return error != 0 ? error : under_->allocate(offset, num_bytes);
    }
    int punch_hole(uint64_t offset, uint64_t num_bytes) override {
      const int error = files_.before(FileCall::punch_hole).error;
      return error != 0 ? error : under_->punch_hole(offset, num_bytes);
    }
    int sync() override {
      const int error = files_.before(FileCall::sync).error;
      return error != 0 ? error : under_->sync();
    }
    IoResult<bool> try_lock() override {
      if (int error = files_.before(FileCall::lock).error) return {error};
      return under_->try_lock();
    }

   private:
    FaultyFileSystem& files_;
    const std::unique_ptr<OpenFile> under_;
  };

  // Counts the call, and says what becomes of it.
  Verdict before(FileCall call, bool names_path = false) {
    const int64_t nth_of_any = ++num_calls_[static_cast<size_t>(FileCall::any)];
    const int64_t nth = ++num_calls_[static_cast<size_t>(call)];
    Verdict verdict;
    for (const Fault& fault : faults_) {
      if (fault.call != FileCall::any && fault.call != call) continue;
      const int64_t n = fault.call == FileCall::any ? nth_of_any : nth;
      if (n != fault.nth && !(fault.for_ever && n > fault.nth)) continue;
      ++num_faults_;
      switch (fault.kind) {
        case Fault::Kind::error: verdict.error = fault.error; break;
        case Fault::Kind::too_short: verdict.too_short = true; break;
        case Fault::Kind::torn: verdict.torn = true; break;
        case Fault::Kind::bit_flip: verdict.bit_flip = true; break;
        case Fault::Kind::delay: clock_->advance(fault.delay_us); break;
        case Fault::Kind::vanish: vanished_ = true; break;
      }
    }
    if (vanished_ && names_path) verdict.error = ENOENT;
    if (crashed_) verdict.error = EIO;
    return verdict;
  }

  uint64_t draw(uint64_t bound) { return random_bits(seed_, ++num_drawn_) % bound; }
  void flip(std::span<std::byte> bytes) {
    if (bytes.empty()) return;
    bytes[draw(bytes.size())] ^= std::byte{1} << static_cast<int>(draw(8));
  }

  const std::shared_ptr<FileSystem> under_;
  const uint64_t seed_;
  const std::shared_ptr<ManualClock> clock_;
  std::vector<Fault> faults_;
  std::array<int64_t, static_cast<size_t>(FileCall::count)> num_calls_ = {};
  int64_t num_faults_ = 0;
  uint64_t num_drawn_ = 0;
  bool crashed_ = false, vanished_ = false;
};

}  // namespace kvi
