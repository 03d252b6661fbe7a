#include "cache/evictor.h"

#include "base/error.h"

namespace kvi {

Evictor::Evictor(std::string_view policy) {
  for (auto& of_band : policies_) of_band = make_eviction_policy(policy);
}

void Evictor::insert(NodeId node, const EvictionEntry& entry, Band band, int scope) {
  if (static_cast<NodeId>(entries_.size()) <= node) entries_.resize(node + 1);
  if (static_cast<int>(scopes_.size()) <= scope) scopes_.resize(scope + 1);
  KVI_CHECK(!entries_[node].present);
  policies_[static_cast<int>(band)]->insert(node, entry);
  entries_[node] = {.what = entry, .scope = scope, .band = band, .present = true};
}

void Evictor::erase(NodeId node) {
  set_busy(node);
  policy_of(node).erase(node);
  entries_[node].present = false;
}

void Evictor::hit(NodeId node) { policy_of(node).hit(node); }

void Evictor::set_idle(NodeId node) {
  KVI_CHECK(has(node));
  if (entries_[node].idle) return;
  entries_[node].idle = true;
  ++num_idle_;
  link(node);
  policy_of(node).set_idle(node);
}

void Evictor::set_busy(NodeId node) {
  KVI_CHECK(has(node));
  if (!entries_[node].idle) return;
  entries_[node].idle = false;
  --num_idle_;
  unlink(node);
  policy_of(node).set_busy(node);
}

void Evictor::set_band(NodeId node, Band band) {
  Entry& entry = entries_[node];
  if (entry.band == band) return;
  policies_[static_cast<int>(band)]->insert(node, entry.what);
  policy_of(node).erase(node);
  entry.band = band;
  if (entry.idle) policy_of(node).set_idle(node);
}

NodeId Evictor::victim(Band most) {
  for (int band = 0; band <= static_cast<int>(most); ++band) {
    const NodeId node = policies_[band]->victim();
    if (node != kNoEntry) return node;
  }
  return kNoNode;
}

NodeId Evictor::victim_of_scope(int scope) const {
  return scope < static_cast<int>(scopes_.size()) ? scopes_[scope].oldest : kNoNode;
}

void Evictor::link(NodeId node) {
  ScopeList& list = scopes_[entries_[node].scope];
  entries_[node].older = list.newest;
  entries_[node].newer = kNoNode;
  (list.newest == kNoNode ? list.oldest : entries_[list.newest].newer) = node;
  list.newest = node;
}

void Evictor::unlink(NodeId node) {
  ScopeList& list = scopes_[entries_[node].scope];
  const Entry& entry = entries_[node];
  (entry.older == kNoNode ? list.oldest : entries_[entry.older].newer) = entry.newer;
  (entry.newer == kNoNode ? list.newest : entries_[entry.newer].older) = entry.older;
}

}  // namespace kvi
