// Decides which pages each sequence holds: attach to a cached prefix, reserve, commit, truncate, fork, release.
//
// Every layer group has its own pages; all share one budget in bytes, which is never passed. Pages that several
// sequences hold, or the prefix index, are immutable: who wants to write into one gets a copy first (a PageCopy,
// which the engine executes). Whole pages go into the index as they are committed, so what a sequence gives back
// stays cached until its memory is wanted. A window group gives back pages that no later query can see.
//
// Where memory is short, what takes pages throws bad_alloc and has changed nothing but what is cached; what gives them
// back (commit, truncate, release, park) never throws it, and leaves out what others could have found.
//
// Not thread-safe: the engine's core guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/cache_options.h"
#include "cache/device_pages.h"
#include "cache/prefix_cache.h"
#include "cache/sequence_pages.h"

namespace kvi {

class CacheManager {
 public:
  // Throws EXHAUSTED when the budget holds less than one page of each group.
  CacheManager(std::vector<LayerGroup> groups, const CacheOptions& options,
               const ReserveMemory& reserve_memory);

  // scope: of the prefix index, from scope_of_tenant; kSharedScopeId for the operator's own.
  SequencePages make_sequence(int scope = kSharedScopeId) const;

  // Takes over what of tokens[0, limit) is cached beyond what the sequence has; at least limit's last token is to
  // be computed by who asks for its logits. Pages in lower tiers are loaded: see is_ready. copies: appended to.
  void attach(SequencePages& sequence, std::span<const TokenId> tokens, int limit,
              std::vector<PageCopy>& copies);
  // The same in whole pages: nothing is to be copied.
  void attach_whole_pages(SequencePages& sequence, std::span<const TokenId> tokens);
  // False: pages of it are still on their way. What fails to come is left out, to be computed.
  bool is_ready(SequencePages& sequence);
  // Makes positions [num_tokens, num_tokens + count) writable in all groups, or changes nothing and returns
  // false when the budget does not allow it, or the system refuses memory. copies: appended to.
  bool reserve(SequencePages& sequence, int count, std::vector<PageCopy>& copies);
  // The same for an empty sequence whose positions [0, num_tokens) were computed elsewhere and are to be copied
  // into its pages, then committed: a window group gets those of its last window only.
  bool reserve_restored(SequencePages& sequence, int num_tokens, std::vector<PageCopy>& copies);
  uint64_t restored_bytes(int num_tokens) const;  // of these pages
  // The copies of a step have been made.
  void finish_copies(std::span<const PageCopy> copies);
  // The first `count` reserved positions have been written. tokens: all of the sequence's, so that its whole pages
  // can be found by them; empty: they cannot.
  void commit(SequencePages& sequence, int count, std::span<const TokenId> tokens = {});
  // Keeps the first num_tokens tokens; where a window's pages for that point are gone, none.
  void truncate(SequencePages& sequence, int num_tokens);
  SequencePages fork(const SequencePages& sequence);
  void release(SequencePages& sequence);  // leaves it empty; what is indexed stays cached
  // Lets others find its last, partial page too: whoever goes on, the sequence itself too, copies it.
  void index_tail(SequencePages& sequence);
  // Releases, and leaves also the last, partial page in the index.
  void park(SequencePages& sequence);
  // Parks, and keeps a copy of it all pinned in a tier until release or attach. False: the tier has no room for
  // it, nothing has changed; needed: the bytes.
  bool suspend(SequencePages& sequence, std::span<const TokenId> tokens, TierId tier,
               uint64_t* needed);
  // Moves pages that only this sequence holds to lower ids, so that granules empty, after evicting what is cached.
  // False: there is nothing to gain. The places that it left are free once the copies are finished.
  bool compact(SequencePages& sequence, std::vector<PageCopy>& copies);
  // The text may be taken up here again by others: keeps what that takes by preference.
  void mark_boundary(const SequencePages& sequence, Band band = Band::normal);

  // Bytes of further pages that computing up to num_tokens takes at its peak, in steps of at most chunk
  // tokens, wherever they are cut.
  uint64_t bytes_to_reach(const SequencePages& sequence, int num_tokens, int chunk) const;
  // The same in steps of just chunk tokens, as a sequence computes that is alone: not a page too much.
  uint64_t bytes_to_reach_alone(const SequencePages& sequence, int num_tokens, int chunk) const;
  // The most that the sequence then holds.
  uint64_t peak_bytes_alone(const SequencePages& sequence, int num_tokens, int chunk) const;
  // That in whole granules of memory: with a smaller budget it fits at no time.
  uint64_t least_budget_for(const SequencePages& sequence, int num_tokens, int chunk) const;

  PrefixCache& prefixes() { return prefixes_; }
  const PrefixCache& prefixes() const { return prefixes_; }
  int page_len() const { return page_len_; }
  const std::vector<LayerGroup>& groups() const { return prefixes_.groups(); }
  std::byte* pages(int group) const { return prefixes_.pages().address(group); }
  uint64_t budget_bytes() const { return prefixes_.pages().limit_bytes(); }
  uint64_t least_budget() const { return least_budget_; }                 // one page of each group
  uint64_t used_bytes() const { return prefixes_.pages().used_bytes(); }  // held by sequences
  uint64_t peak_bytes() const { return peak_bytes_; }
  uint64_t mapped_bytes() const { return prefixes_.pages().mapped_bytes(); }
  uint64_t held_bytes(const SequencePages& sequence) const;

  void check_invariants() const { prefixes_.check_invariants(); }

 private:
  class HeldNode;
  int num_groups() const { return static_cast<int>(groups().size()); }
  uint64_t page_bytes(int group) const { return groups()[group].layout.page_bytes; }
  int pages_for(int num_tokens) const { return (num_tokens + page_len_ - 1) / page_len_; }
  // Whether the page that holds the next position exists and must not be written to by this sequence.
  bool tail_is_immutable(const SequencePages& sequence, int group) const;
  void attach(SequencePages& sequence, std::span<const TokenId> tokens, int limit,
              std::vector<PageCopy>* copies);
  bool attach_match(SequencePages& sequence, const PrefixMatch& match,
                    std::vector<PageCopy>* copies);
  void attach_partial(SequencePages& sequence, const PrefixTree::Partial& partial,
                      std::vector<PageCopy>& copies);
  // False: where memory is short, not all.
  bool index_whole_pages(SequencePages& sequence, std::span<const TokenId> tokens);
  void index_pages(SequencePages& sequence, std::span<const TokenId> tokens);
  NodeId index_partial_page(SequencePages& sequence);  // kNoNode: it cannot be
  uint64_t peak_bytes(const SequencePages& sequence, int num_tokens, int chunk,
                      uint64_t granule) const;
  void plan_copy(const PageCopy& copy, std::vector<PageCopy>& copies);
  void undo_copies(std::vector<PageCopy>& copies, size_t first);
  void keep_tail(SequencePages& sequence, std::span<const TokenId> tokens);
  void set_tail(SequencePages& sequence, std::span<const TokenId> tail);
  void move_node(SequencePages& sequence, NodeId node, int num_indexed);
  void slide_windows(SequencePages& sequence);
  void drop_pages_from(SequencePages& sequence, int first);
  // Whether a sequence of so many tokens goes on from the page at the node.
  bool is_needed(NodeId node, int group, int num_tokens) const;
  void unpin_from(SequencePages& sequence, int first);

  const int page_len_;
  PrefixCache prefixes_;
  // [group]; of reserve, kept so that steps need not allocate
  std::vector<std::vector<PageId>> fresh_;
  uint64_t least_budget_ = 0, peak_bytes_ = 0;
};

}  // namespace kvi
