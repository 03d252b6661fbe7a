#include "cache/eviction.h"

#include <list>
#include <unordered_map>

namespace kvi {
namespace {

class PlaceholderLru final : public EvictionPolicy {
 public:
  void insert(EntryId, const EvictionEntry&) override {}
  void hit(EntryId) override {}
  void set_idle(EntryId id) override { where_[id] = list_.insert(list_.end(), id); }
  void set_busy(EntryId id) override {
    const auto found = where_.find(id);
    if (found == where_.end()) return;
    list_.erase(found->second);
    where_.erase(found);
  }
  void erase(EntryId id) override { set_busy(id); }
  EntryId victim() override { return list_.empty() ? kNoEntry : list_.front(); }

 private:
  std::list<EntryId> list_;
  std::unordered_map<EntryId, std::list<EntryId>::iterator> where_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view) {
  return std::make_unique<PlaceholderLru>();
}

}  // namespace kvi
