// Takes the longest prefix of a snapshot that the running model can use, page by page.
//
//   SnapshotReader reader(source, target);
//   while (auto page = reader.read_page(buffer)) put it where page->group and page->index say;
//   then reader.tokens() and the first reader.kv_len() positions of K and V are what it gave,
//   and reader.reason() says why it was not more.
//
// The snapshot is hostile input: nothing larger than the target allows is allocated, and only pages whose checksum
// holds are given. Reads nothing past the last page that it needs.
//
// Not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "engine/snapshot_scanner.h"

namespace kvi {

enum class ForeignNumerics : uint8_t { refuse, accept };

// What the running model accepts.
struct SnapshotTarget {
  std::string model_fingerprint;
  std::string numerics_id;
  int page_len = 0;
  std::vector<SnapshotGroup> groups;
  int64_t max_tokens = 0;  // of a sequence
  TokenId vocab_size = 0;
  ForeignNumerics foreign_numerics = ForeignNumerics::refuse;
};

class SnapshotReader {
 public:
  // Reads header and tokens. Only source throws (and INVALID_ARGUMENT, where it says that it gave more than fits).
  SnapshotReader(SnapshotSource source, SnapshotTarget target);

  // Nullopt where the header cannot be used at all.
  const std::optional<SnapshotHeader>& header() const { return scanner_.header(); }
  const std::vector<TokenId>& tokens() const { return tokens_; }  // the longest valid prefix

  // Reads the next page into the front of page; nullopt after the last one that can be used. Page has room for one
  // of any group; without a page in return its content means nothing.
  std::optional<SnapshotPage> read_page(std::span<std::byte> page);

  // The positions whose K and V the pages will give if they are whole: at most tokens().size().
  int64_t wanted_len() const { return wanted_len_; }
  // The positions from 0 on whose K and V were given, in every group as far as its window reaches back: at most
  // tokens().size(). 0 until the last page of a snapshot with windows, and where such a one was truncated.
  int64_t kv_len() const;

  SnapshotReason reason() const;  // its text is never empty

 private:
  void take_tokens(std::span<const TokenId> run);

  SnapshotScanner scanner_;
  SnapshotTarget target_;
  std::vector<TokenId> tokens_;
  bool tokens_end_ = false;  // at one that cannot be used
  bool pages_fit_ = false;
  int64_t wanted_len_ = 0;  // of K and V
  bool pages_end_ = false;
};

}  // namespace kvi
