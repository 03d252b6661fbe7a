// A FileSystem in memory, with one flat set of paths: sparse files, locks, deletion of open files, and a disk
// that can be full. It survives those who opened its files, so it also plays the disk across a restart.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/file_system.h"

namespace kvi {

class MemoryFileSystem final : public FileSystem {
 public:
  static constexpr uint64_t kUnit = 4096;  // bytes of allocation

  struct Node {
    std::map<uint64_t, std::array<std::byte, kUnit>> units;  // by number; absent: a hole
    uint64_t size = 0;
    uint64_t num_links = 1;
    int64_t modified_us = 0;
    const void* lock_holder = nullptr;
  };

  uint64_t disk_bytes = ~uint64_t{0};  // ENOSPC beyond
  bool has_holes = true;

  // What a file's content is, for tests that look at it or change it.
  std::vector<std::byte> content(const std::string& path) {
    Node& node = *nodes_.at(path);
    std::vector<std::byte> bytes(node.size);
    read_node(node, 0, bytes);
    return bytes;
  }
  void set_content(const std::string& path, std::span<const std::byte> bytes) {
    auto& node = nodes_[path];
    if (node == nullptr) node = std::make_shared<Node>();
    node->units.clear();
    node->size = 0;
    write_node(*node, 0, bytes);
  }
  bool exists(const std::string& path) const { return nodes_.contains(path); }
  uint64_t allocated_bytes() const {
    uint64_t bytes = 0;
    for (const auto& [path, node] : nodes_) bytes += allocated(*node);
    return bytes;
  }
  void delete_folder(const std::string& folder) {
    folders_.erase(folder);
    for (auto it = nodes_.begin(); it != nodes_.end();) {
      const bool inside = it->first.starts_with(folder + "/");
      if (inside) it->second->num_links = 0;
      it = inside ? nodes_.erase(it) : std::next(it);
    }
  }

  IoResult<std::unique_ptr<OpenFile>> open(const std::string& path, OpenMode mode) override {
    if (folders_.contains(path)) return {EISDIR};
    const auto found = nodes_.find(path);
    if (found == nodes_.end()) {
      const bool in_folder = folders_.contains(path.substr(0, path.rfind('/')));
      if (mode == OpenMode::read || mode == OpenMode::read_named || !in_folder) return {ENOENT};
      nodes_[path] = std::make_shared<Node>();
    } else if (mode == OpenMode::create_new) {
      return {EEXIST};
    }
    return {0, std::make_unique<Handle>(*this, nodes_[path])};
  }
  IoResult<FileInfo> info(const std::string& path) override {
    if (folders_.contains(path)) return {0, {.kind = FileKind::folder}};
    const auto found = nodes_.find(path);
    if (found == nodes_.end()) return {ENOENT};
    return {0, info_of(*found->second)};
  }
  int rename(const std::string& from, const std::string& to) override {
    const auto found = nodes_.find(from);
    if (found == nodes_.end()) return ENOENT;
    if (from == to) return 0;
    if (nodes_.contains(to)) nodes_[to]->num_links = 0;
    nodes_[to] = found->second;
    nodes_.erase(from);
    return 0;
  }
  int unlink(const std::string& path) override {
    const auto found = nodes_.find(path);
    if (found == nodes_.end()) return ENOENT;
    found->second->num_links = 0;
    nodes_.erase(found);
    return 0;
  }
  IoResult<std::vector<std::string>> list(const std::string& folder) override {
    if (!folders_.contains(folder)) return {nodes_.contains(folder) ? ENOTDIR : ENOENT};
    IoResult<std::vector<std::string>> names;
    for (const auto& [path, node] : nodes_) {
      if (path.starts_with(folder + "/")) names.value.push_back(path.substr(folder.size() + 1));
    }
    return names;
  }
  int make_folder(const std::string& path) override {
    if (nodes_.contains(path)) return EEXIST;
    return folders_.insert(path).second ? 0 : EEXIST;
  }
  int sync_folder(const std::string&) override { return 0; }
  IoResult<uint64_t> free_bytes(const std::string& folder) override {
    if (!folders_.contains(folder)) return {ENOENT};
    return {0, disk_bytes - std::min(disk_bytes, allocated_bytes())};
  }

 private:
  class Handle final : public OpenFile {
   public:
    Handle(MemoryFileSystem& files, std::shared_ptr<Node> node)
        : files_(files), node_(std::move(node)) {}
    ~Handle() override {
      if (node_->lock_holder == this) node_->lock_holder = nullptr;
    }

    IoResult<size_t> read(uint64_t offset, std::span<std::byte> dst) override {
      const uint64_t left = node_->size - std::min(node_->size, offset);
      const size_t num_bytes = std::min<uint64_t>(left, dst.size());
      files_.read_node(*node_, offset, dst.first(num_bytes));
      return {0, num_bytes};
    }
    IoResult<size_t> write(uint64_t offset, std::span<const std::byte> src) override {
      const size_t done = files_.write_node(*node_, offset, src);
      if (done == 0 && !src.empty()) return {ENOSPC};
      return {0, done};
    }
    IoResult<FileInfo> info() override { return {0, files_.info_of(*node_)}; }
    int truncate(uint64_t num_bytes) override {
      node_->units.erase(node_->units.lower_bound((num_bytes + kUnit - 1) / kUnit),
                         node_->units.end());
      if (num_bytes < node_->size) zero(num_bytes, (num_bytes + kUnit - 1) / kUnit * kUnit);
      node_->size = num_bytes;
      return 0;
    }
    int allocate(uint64_t offset, uint64_t num_bytes) override {
      for (uint64_t unit = offset / kUnit; unit * kUnit < offset + num_bytes; ++unit) {
        if (!files_.make_unit(*node_, unit)) return ENOSPC;
      }
      node_->size = std::max(node_->size, offset + num_bytes);
      return 0;
    }
    int punch_hole(uint64_t offset, uint64_t num_bytes) override {
      if (!files_.has_holes) return EOPNOTSUPP;
      const uint64_t first = (offset + kUnit - 1) / kUnit;
      const uint64_t last = std::max(first, (offset + num_bytes) / kUnit);
      node_->units.erase(node_->units.lower_bound(first), node_->units.lower_bound(last));
      zero(offset, std::min(first * kUnit, offset + num_bytes));
      zero(std::max(last * kUnit, offset), offset + num_bytes);
      return 0;
    }
    int sync() override { return 0; }
    IoResult<bool> try_lock() override {
      if (node_->lock_holder != nullptr && node_->lock_holder != this) return {0, false};
      node_->lock_holder = this;
      return {0, true};
    }

   private:
    void zero(uint64_t begin, uint64_t end) {
      if (begin >= end) return;
      const auto unit = node_->units.find(begin / kUnit);
      if (unit != node_->units.end()) std::memset(&unit->second[begin % kUnit], 0, end - begin);
    }

    MemoryFileSystem& files_;
    const std::shared_ptr<Node> node_;
  };

  uint64_t allocated(const Node& node) const {
    return has_holes ? node.units.size() * kUnit : (node.size + kUnit - 1) / kUnit * kUnit;
  }
  FileInfo info_of(const Node& node) const {
    return {FileKind::regular, node.size, allocated(node), node.num_links, node.modified_us};
  }
  bool make_unit(Node& node, uint64_t unit) {
    if (node.units.contains(unit)) return true;
    if (disk_bytes != ~uint64_t{0} && allocated_bytes() + kUnit > disk_bytes) return false;
    node.units[unit].fill(std::byte{0});
    return true;
  }
  void read_node(const Node& node, uint64_t offset, std::span<std::byte> dst) const {
    for (size_t done = 0; done < dst.size();) {
      const uint64_t at = offset + done;
      const size_t piece = std::min<uint64_t>(dst.size() - done, kUnit - at % kUnit);
      const auto unit = node.units.find(at / kUnit);
      if (unit == node.units.end()) {
        std::memset(&dst[done], 0, piece);
      } else {
        std::memcpy(&dst[done], &unit->second[at % kUnit], piece);
      }
      done += piece;
    }
  }
  size_t write_node(Node& node, uint64_t offset, std::span<const std::byte> src) {
    size_t done = 0;
    while (done < src.size()) {
      const uint64_t at = offset + done;
      if (!make_unit(node, at / kUnit)) break;
      const size_t piece = std::min<uint64_t>(src.size() - done, kUnit - at % kUnit);
      std::memcpy(&node.units[at / kUnit][at % kUnit], &src[done], piece);
      done += piece;
    }
    node.size = std::max(node.size, offset + done);
    node.modified_us = ++now_us_;
    return done;
  }

  std::map<std::string, std::shared_ptr<Node>> nodes_;
  std::set<std::string> folders_ = {"/"};
  int64_t now_us_ = 0;
};

}  // namespace kvi
