// Device pages that outlive their sequences, found again by what they hold: the index, its eviction, its tiers.
//
// It answers which pages a prompt can reuse, takes committed pages into the index, finds room by evicting what is
// cached only, and plans the moves of pages from and to lower tiers. Sequences are CacheManager's.
//
// Not thread-safe: owned by CacheManager.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/cache_events.h"
#include "cache/cache_options.h"
#include "cache/device_pages.h"
#include "cache/evicted_keys.h"
#include "cache/evictor.h"
#include "cache/lower_tier.h"
#include "cache/page_move.h"
#include "cache/prefix_tree.h"
#include "cache/sequence_pages.h"

namespace kvi {

constexpr int kSharedScopeId = 0;  // the operator's prefixes

// The longest reusable start of some tokens.
struct PrefixMatch {
  std::vector<NodeId> path;  // of whole pages, the first at table index `first`
  int first = 0;
  int num_pages = 0;            // whole pages reusable, counted from position 0
  PrefixTree::Partial partial;  // the start of one more page, to be copied
  int num_tokens(int page_len) const { return num_pages * page_len + partial.num_tokens; }
};

class PrefixCache {
 public:
  PrefixCache(const std::vector<LayerGroup>& groups, const CacheOptions& options,
              const ReserveMemory& reserve_memory);

  // ---- scopes ----
  int scope_of_tenant(std::string_view tenant);
  int make_private_scope();  // that nobody else ever finds
  const Digest& salt(int scope) const { return salts_[scope]; }

  // ---- pages ----
  // A page for the caller, RESERVED; evicts what is only cached. kNoPage: everything else is in use.
  PageId allocate(int group, int scope, std::vector<PageCopy>& copies);
  void retain(int group, PageId page);
  void release(int group, PageId page);
  // Instead of release, where the caller did not see to the zeroing that allocate asked for.
  void release_unwritten(int group, PageId page);
  // A page with a lower id, for who alone holds `page` and would rather have its content there.
  PageId take_lower_page(int group, PageId page, int scope);
  // What is known of `from` in the index is known of `to` from here on.
  void replace_page(int group, PageId from, PageId to);
  void begin_flight(int group, PageId page);
  void end_flight(int group, PageId page);
  DevicePages& pages() { return pages_; }
  const DevicePages& pages() const { return pages_; }
  // Gives memory back to the budget by unmapping and evicting; returns the bytes.
  uint64_t trim(uint64_t num_bytes);

  // ---- the index ----
  // What of tokens[0, limit) is there, after the pages that the sequence has indexed. tiers: also in lower ones.
  PrefixMatch match(const SequencePages& sequence, std::span<const TokenId> tokens, int limit,
                    bool in_lower_tiers) const;
  // The node for tokens after parent, found or made.
  NodeId add_node(NodeId parent, int scope, std::span<const TokenId> tokens);
  // Makes a held page the node's copy, unless it has one. Returns the page that is now the node's.
  PageId index_page(NodeId node, int group, PageId page);
  void ref(NodeId node) { tree_.ref(node); }
  void unref(NodeId node);
  void hit(NodeId node);
  // Keeps the windows that end with this node by preference: the text may go on from there anew. Where memory is
  // short, without.
  void mark_boundary(NodeId node,
                     Band band = Band::normal);  // Band::low lowers what is of this prefix alone
  void evict(NodeId node);                       // its copies in all tiers, where nobody holds them
  // Of a tenant's tokens: their end, as far up as nobody else's text hangs on it, and what goes on after them.
  void evict_prefix(const SequencePages& sequence, std::span<const TokenId> tokens);
  // All of one scope, or of everybody. Returns how many nodes were there.
  int evict_scope(std::optional<int> scope);
  // Pages of tokens that the scope which has most of them, other than the sequence's, has.
  int longest_of_others(const SequencePages& sequence, std::span<const TokenId> tokens) const;
  const PrefixTree& tree() const { return tree_; }
  bool was_evicted(const Digest& key) const { return evicted_.contains(key); }
  Digest child_key(NodeId parent, int scope, std::span<const TokenId> tokens) const;

  // ---- tiers ----
  LowerTier* tier(TierId id) const { return tiers_[static_cast<int>(id) - 1].get(); }
  bool is_readable(NodeId node, int group) const;  // in any lower tier
  // Plans a copy in the tier; false: no room. True also when it is there or on its way.
  bool store(NodeId node, int group, TierId tier);
  // Plans to fill the page, in flight from now on, from the fastest tier that has the node's.
  void load(NodeId node, int group, PageId page);
  // Moves that are to be made now, at most max_count; each is to be completed, in any order. Where memory is short
  // they are fewer.
  std::list<PageMove> take_moves(size_t max_count);
  void complete(uint64_t move_id, bool ok);
  size_t num_moves() const { return num_planned_moves() + running_.size(); }
  size_t num_running_moves() const { return running_.size(); }  // taken, not completed
  bool has_planned_moves() const { return num_planned_moves() > 0; }

  CacheEvents& events() { return events_; }
  CacheStats& stats() { return stats_; }
  const CacheStats& stats() const { return stats_; }
  const std::vector<LayerGroup>& groups() const { return groups_; }
  // The first page that a group needs once num_tokens are computed.
  int first_needed_page(int group, int num_tokens) const;

  void check_invariants() const;

 private:
  struct NodeAndGroup {
    NodeId node;
    int group;
  };
  struct RunningMove {
    MoveKind kind;
    TierId tier;
    int group;
    PageId page;
    SlotId slot;
  };
  void adopt_stored(LowerTier& tier);
  int scope_of(const Digest& salt);
  int add_scope(const Digest& salt);
  size_t num_planned_moves() const;
  EvictionEntry entry_of(NodeId node, int group) const;
  void extend(NodeId from, int scope, bool reads_shared, std::span<const TokenId> tokens, int first,
              int limit, std::vector<NodeId>& path) const;
  bool has_usable_copy(NodeId node, int group, bool in_lower_tiers) const;
  bool make_room(int group);
  bool evict_one(int group, Band most);
  bool empty_a_granule(int group, Band most, int num_tries);
  void lower(NodeId node);
  bool is_over_share(int scope) const;
  NodeId leaf_below(NodeId node, int group) const;
  void drop_device_copy(NodeId node, int group);
  void remove_if_unused(NodeId node);
  void update_idle(int group, PageId page);
  void count_cached(int group, NodeId node, int sign);
  void want_stored(NodeId node, int group);
  std::list<PageMove> make_move(MoveKind kind, const LowerTier& tier, NodeId node, int group,
                                PageId page);
  void plan_move(std::list<PageMove> move, SlotId slot);
  bool note_running(const PageMove& move);
  void store_wanted();

  const std::vector<LayerGroup> groups_;
  const CacheOptions options_;
  const int page_len_;
  PrefixTree tree_;
  DevicePages pages_;
  std::vector<Evictor> evictors_;  // [group], of device pages
  std::unique_ptr<LowerTier> tiers_[kNumLowerTiers];
  std::vector<Digest> salts_;  // [scope]
  std::map<Digest, int> scope_of_salt_;
  std::vector<uint64_t> cached_bytes_;  // [scope], in idle device pages
  std::vector<int> over_share_;      // tenants' scopes that were, when they last cached more: few
  std::vector<int> granule_cursor_;  // [group]: where empty_a_granule looks next
  EvictedKeys evicted_;
  uint64_t num_private_scopes_ = 0;

  std::deque<NodeAndGroup> wanted_;         // idle pages without a copy below
  std::vector<NodeAndGroup> newly_wanted_;  // since store_wanted
  std::list<PageMove> planned_;  // stores and loads; what a tier is to forget it knows itself
  std::unordered_map<uint64_t, RunningMove> running_;
  uint64_t next_move_ = 1;
  CacheStats stats_;
  CacheEvents events_;
};

}  // namespace kvi
