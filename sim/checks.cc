#include "sim/checks.h"

#include <algorithm>
#include <map>
#include <set>

#include "sim/failure.h"

namespace kvi::sim {
namespace {

Slot slot_of(const Engine& engine, int group, PageId page, int index) {
  const PageLayout& layout = engine.shape().groups[group].layout;
  return {engine.cache().pages(group) + static_cast<uint64_t>(page) * layout.page_bytes,
          layout.page_bytes, layout.page_len, index};
}

// Who does not read the operator's prefixes may still find a start of them that its tenant had copied.
bool may_read(const Session& session, Owner owner) {
  return owner == session.owner || (owner == Owner{kOperator, 0} && session.owner.session == 0);
}

}  // namespace

void check_readable(const Engine& engine, const Session& session) {
  const SequencePages& pages = session.pages;
  const int page_len = engine.cache().page_len();
  require(pages.num_tokens <= session.len(), "a sequence has no more K and V than tokens",
          pages.num_tokens, " of ", session.len());
  const PrefixTree& tree = engine.cache().prefixes().tree();
  const bool may_share = pages.reads_shared || session.owner.tenant == kOperator;
  for (NodeId node = pages.node; !may_share && node != PrefixTree::kRoot;
       node = tree.parent(node)) {
    require(tree.scope(node) != kSharedScopeId, "only those that opted in read the operator's",
            "session ", session.place, ", node ", node);
  }
  for (int g = 0; g < static_cast<int>(engine.shape().groups.size()); ++g) {
    const int window = engine.shape().groups[g].window;
    const int first = window == 0 ? 0 : std::max(0, pages.num_tokens - window + 1);
    for (int position = first; position < pages.num_tokens; ++position) {
      const PageId page = pages.tables[g][position / page_len];
      require(page != kNoPage, "what a sequence reads is there", "session ", session.place,
              ", group ", g, ", position ", position, " of ", pages.num_tokens, " has no page");
      const Slot slot = slot_of(engine, g, page, position % page_len);
      const uint64_t expected = slot_value(session.prefixes[position + 1], g, session.owner);
      const bool is_right = same_tokens(slot.first(), expected) && slot.first() == slot.last();
      require(is_right, "what a sequence reads is what its tokens say", "session ", session.place,
              ", group ", g, ", position ", position, " of ", pages.num_tokens, ", page ", page);
      require(may_read(session, owner_of(slot.first())),
              "tenants share only what the operator does", "session ", session.place, " of tenant ",
              int{session.owner.tenant}, " reads tenant ", int{owner_of(slot.first()).tenant},
              "'s page ", page, " of group ", g);
    }
  }
}

void check_may_write(const Engine& engine, const Session& session, int count) {
  const SequencePages& pages = session.pages;
  const int page_len = engine.cache().page_len(), first = pages.num_tokens;
  for (int g = 0; g < static_cast<int>(engine.shape().groups.size()); ++g) {
    const PagePool& pool = engine.cache().prefixes().pages().pool(g);
    for (int index = first / page_len; index * page_len < first + count; ++index) {
      const PageId page = pages.tables[g].at(static_cast<size_t>(index));
      require(page != kNoPage && pool.num_holders(page) == 1 && pool.node(page) == kNoNode,
              "a page that is written is its writer's alone", "session ", session.place, ", group ",
              g, ", page ", page);
      for (int i = 0; i < page_len; ++i) {
        if (index * page_len + i < first) continue;
        for (const uint64_t left :
             {slot_of(engine, g, page, i).first(), slot_of(engine, g, page, i).last()}) {
          const uint8_t tenant = owner_of(left).tenant;
          const bool is_clean = left == 0 || tenant == kOperator || tenant == session.owner.tenant;
          require(is_clean, "a page is zeroed when it changes tenant", "session ", session.place,
                  " of tenant ", int{session.owner.tenant}, " got page ", page, " of group ", g,
                  " with what was tenant ", int{tenant}, "'s");
        }
      }
    }
  }
}

void check_admission(const Engine& engine, const Session& session, Submitted submitted) {
  const DevicePages& pages = engine.cache().prefixes().pages();
  const int page_len = engine.cache().page_len();
  const auto num_pages = static_cast<uint64_t>((session.len() + page_len - 1) / page_len);
  uint64_t least = 0, most = 0;
  for (const LayerGroup& group : engine.shape().groups) {
    const uint64_t page_bytes = group.layout.page_bytes;
    least += (group.window == 0 ? num_pages : 1) * page_bytes;
    most += (num_pages * page_bytes / pages.granule_bytes() + 1) * pages.granule_bytes();
  }
  if (submitted == Submitted::too_large) {
    require(most > pages.limit_bytes(), "what fits is not refused for its size", session.len(),
            " tokens, a budget of ", pages.limit_bytes(), " bytes");
    return;
  }
  require(least <= pages.limit_bytes(), "what can never fit is refused at once", session.len(),
          " tokens, a budget of ", pages.limit_bytes(), " bytes");
  if (submitted == Submitted::queue_full) {
    require(engine.scheduler().num_waiting() >= engine.shape().limits.max_queued,
            "the queue is full before anybody is refused", engine.scheduler().num_waiting(),
            " wait");
  }
}

// ---- steps ----

StepExpectations::StepExpectations(const Engine& engine)
    : refusals_(engine.machine().memory->refusals) {
  engine.each_session([&](const Session& session) {
    if (session.request) {
      num_preemptions_[session.place] = session.request->scheduled.num_preemptions;
    }
  });
}

void StepExpectations::check_preemptions(const Engine& engine, const Step& step) const {
  engine.each_session([&](const Session& victim) {
    if (!was_preempted(victim)) return;
    const SchedSequence& lost = victim.request->scheduled;
    for (const StepItem& item : step.items) {
      require(item.sequence->priority >= lost.priority, "nobody is preempted for a lower priority",
              "session ", victim.place, " of priority ", lost.priority,
              " lost its pages in a step with one of priority ", item.sequence->priority);
    }
  });
}

void StepExpectations::check(const Engine& engine, const Step& step) const {
  const SchedulerLimits& limits = engine.shape().limits;
  int num_tokens = 0;
  std::set<const SchedSequence*> seen;
  for (const StepItem& item : step.items) {
    num_tokens += item.num_tokens;
    require(seen.insert(item.sequence).second, "a sequence is in a step once", "");
    require(item.num_tokens > 0 && item.num_tokens <= item.sequence->num_pending() &&
                item.sequence->pages->loading.empty() && item.sequence->pages->pinned.empty(),
            "a step computes what is ready and pending", item.num_tokens, " of ",
            item.sequence->num_pending());
  }
  require(num_tokens <= limits.max_batch_tokens, "a step keeps to its tokens", num_tokens);
  require(static_cast<int>(step.items.size()) <= engine.scheduler().num_running() &&
              engine.scheduler().num_running() <= limits.max_sequences,
          "a step keeps to its sequences", step.items.size());
  require(
      engine.num_requests() == engine.scheduler().num_running() + engine.scheduler().num_waiting(),
      "every request waits or runs", engine.num_requests());
  check_preemptions(engine, step);
  if (step.exhausted == nullptr) return;
  require(step.items.empty(), "a request ends for want of pages only when nothing goes on", "");
  const Machine& machine = engine.machine();
  bool others_hold_memory = machine.rival_bytes > 0 || machine.memory->refusals != refusals_;
  engine.each_session([&](const Session& session) { others_hold_memory |= session.is_held; });
  const uint64_t needed = engine.cache().least_budget_for(
      *step.exhausted->pages, step.exhausted->num_known, limits.max_batch_tokens);
  // Pages that straddle granules may leave a few of these unusable.
  const uint64_t slack = 3 * engine.cache().groups().size() *
                         engine.cache().prefixes().pages().granule_bytes();
  require(others_hold_memory || needed + slack > engine.cache().budget_bytes(),
          "a request ends for want of pages only when it does not fit alone", "it needs ", needed,
          " bytes of ", engine.cache().budget_bytes(), ", ", engine.cache().used_bytes(),
          " are used, moves in flight: ", engine.transfers().num_moves());
}

// ---- accounting ----

void AccountingCheck::check(const Engine& engine) {
  const DevicePages& pages = engine.cache().prefixes().pages();
  const uint64_t mapped = pages.mapped_bytes();
  require(mapped <= std::max(pages.budget_bytes(), mapped_bytes_ == UINT64_MAX ? 0 : mapped_bytes_),
          "the budget is never passed", mapped, " bytes are mapped of ", pages.budget_bytes());
  mapped_bytes_ = mapped;
  require(pages.used_bytes() <= mapped, "what is used is mapped", pages.used_bytes());
  require(pages.used_bytes() ==
              pages.bytes_in_class(PageClass::private_) + pages.bytes_in_class(PageClass::pinned),
          "allocated is private and pinned", pages.used_bytes());
  const Machine& machine = engine.machine();
  if (machine.budget) {
    require(machine.budget->leased() == mapped + machine.rival_bytes,
            "what is leased is mapped by somebody", machine.budget->leased(), " leased, ", mapped,
            " mapped, ", machine.rival_bytes, " of the rival");
  }
  for (const TierId id : {TierId::host, TierId::disk}) {
    const LowerTier* tier = engine.cache().prefixes().tier(id);
    if (tier == nullptr) continue;
    require(
        tier->used_bytes() <= tier->budget_bytes() && tier->pinned_bytes() <= tier->used_bytes(),
        "a tier keeps to its budget", tier->used_bytes(), " of ", tier->budget_bytes());
  }
}

namespace {

void check_holders(const Engine& engine) {
  const int num_groups = static_cast<int>(engine.shape().groups.size());
  for (int g = 0; g < num_groups; ++g) {
    const PagePool& pool = engine.cache().prefixes().pages().pool(g);
    std::map<PageId, int> holders;
    engine.each_session([&](const Session& session) {
      for (const PageId page : session.pages.tables[g]) {
        if (page != kNoPage) ++holders[page];
      }
    });
    for (const auto& [page, count] : holders) {
      require(pool.num_holders(page) == count, "a page has the holders that it knows of", "page ",
              page, " of group ", g, " is in ", count, " tables and knows of ",
              pool.num_holders(page));
    }
    const int num_held = pool.num_in_class(PageClass::private_) +
                         pool.num_in_class(PageClass::pinned);
    require(num_held == static_cast<int>(holders.size()), "no page is held by nobody", num_held,
            " pages of group ", g, " are held, ", holders.size(), " are in tables");
  }
}

// What was pinned in a tier is there until it is taken up again, unless the tier itself lost it.
void check_pins(const Engine& engine) {
  std::map<std::pair<TierId, int>, std::set<NodeId>> pinned;
  engine.each_session([&](const Session& session) {
    const SequencePages& pages = session.pages;
    for (const NodeId node : pages.pinned) {
      const PrefixTree& tree = engine.cache().prefixes().tree();
      require(tree.exists(node), "what is pinned stays", "node ", node, " is gone");
      const int end = session.len_when_suspended;
      for (int g = 0; g < tree.num_groups(); ++g) {
        const bool is_there = tree.place(node, pages.pinned_tier, g) != PrefixTree::kNowhere;
        if (is_there) pinned[{pages.pinned_tier, g}].insert(node);
        const bool may_be_lost = session.failures_before_suspend != engine.transfers().num_failed ||
                                 tree.depth(node) <
                                     engine.cache().prefixes().first_needed_page(g, end);
        require(is_there || may_be_lost, "what is pinned stays", "session ", session.place,
                " has lost its page ", tree.depth(node), " of group ", g);
      }
    }
  });
  for (const TierId id : {TierId::host, TierId::disk}) {
    const LowerTier* tier = engine.cache().prefixes().tier(id);
    if (tier == nullptr) continue;
    uint64_t most = 0;
    for (int g = 0; g < static_cast<int>(engine.shape().groups.size()); ++g) {
      most += pinned[{id, g}].size() * tier->slot_bytes(g);
    }
    require(tier->pinned_bytes() <= most, "no pin outlives its session", tier->pinned_bytes(),
            " bytes are pinned, sessions pin ", most);
  }
}

// Whatever the index says is on the device holds the tokens of its path.
void check_index(const Engine& engine, bool leaves_go_first) {
  const PrefixTree& tree = engine.cache().prefixes().tree();
  int num_indexed = 0, num_orphans = 0;
  std::vector<NodeId> todo = {PrefixTree::kRoot};
  std::map<NodeId, uint64_t> prefix_of = {{PrefixTree::kRoot, empty_prefix(engine.model())}};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    const std::span<const TokenId> tokens = tree.tokens(node);
    std::vector<uint64_t> prefixes;
    if (node != PrefixTree::kRoot) {
      prefixes.push_back(prefix_of.at(tree.parent(node)));
      for (const TokenId token : tokens) prefixes.push_back(extend_prefix(prefixes.back(), token));
      prefix_of[node] = prefixes.back();
    }
    for (NodeId child = tree.first_child(node); child != kNoNode;
         child = tree.next_sibling(child)) {
      todo.push_back(child);
    }
    for (int g = 0; g < tree.num_groups() && node != PrefixTree::kRoot; ++g) {
      const PageId page = tree.place(node, TierId::device, g);
      const PagePool& pool = engine.cache().prefixes().pages().pool(g);
      if (page == PrefixTree::kNowhere || pool.state(page) != PageState::committed) continue;
      for (size_t i = 0; i < tokens.size(); ++i) {
        const Slot slot = slot_of(engine, g, page, static_cast<int>(i));
        const bool is_right = same_tokens(slot.first(), slot_value(prefixes[i + 1], g, {})) &&
                              slot.first() == slot.last() &&
                              (tree.scope(node) != kSharedScopeId ||
                               owner_of(slot.first()) == Owner{kOperator, 0});
        require(is_right, "an indexed page holds what its node says", "node ", node, " of scope ",
                tree.scope(node), ", group ", g,
                ", tokens differ: ", !same_tokens(slot.first(), slot_value(prefixes[i + 1], g, {})),
                ", holds ", slot.first(), " and ", slot.last(), ", owner ",
                int{owner_of(slot.first()).tenant}, ", model ", engine.model(), ", page ", page,
                ", slot ", i);
      }
      ++num_indexed;
      const NodeId parent = tree.parent(node);
      num_orphans += engine.shape().groups[g].window == 0 && parent != PrefixTree::kRoot &&
                     tree.place(parent, TierId::device, g) == PrefixTree::kNowhere;
    }
  }
  // A few come of pages that were in flight when their turn to go had come.
  require(!leaves_go_first || num_orphans <= 4 + num_indexed / 16, "leaves are evicted first",
          num_orphans, " of ", num_indexed, " pages lost what comes before them");
}

}  // namespace

void check_everything(const Engine& engine, bool leaves_go_first) {
  engine.cache().check_invariants();
  check_holders(engine);
  check_pins(engine);
  check_index(engine, leaves_go_first);
}

void check_nothing_is_held(const Engine& engine) {
  const DevicePages& pages = engine.cache().prefixes().pages();
  require(pages.used_bytes() == 0, "nothing is held when all have let go", pages.used_bytes(),
          " bytes are");
  require(pages.mapped_bytes() == 0, "all memory can be given back at the end",
          pages.mapped_bytes(), " bytes are mapped");
  for (const TierId id : {TierId::host, TierId::disk}) {
    const LowerTier* tier = engine.cache().prefixes().tier(id);
    require(tier == nullptr || tier->pinned_bytes() == 0, "no pin outlives its session", "");
  }
  const PrefixTree& tree = engine.cache().prefixes().tree();
  for (NodeId node = PrefixTree::kRoot + 1; node < tree.end_id(); ++node) {
    if (!tree.exists(node)) continue;
    bool is_of_use = tree.num_children(node) > 0;
    for (int g = 0; g < tree.num_groups(); ++g) is_of_use |= tree.has_copy(node, g);
    require(is_of_use, "no node outlives its copies", "node ", node);
  }
}

}  // namespace kvi::sim
