#include "cache/eviction.h"

#include <string>

#include "base/error.h"
#include "cache/combined_eviction.h"
#include "cache/cost_eviction.h"
#include "cache/lfu_eviction.h"
#include "cache/lru_eviction.h"

namespace kvi {
namespace {

constexpr EvictionPolicyName kPolicies[] = {
    {"lru", "the page that was not used for the longest time"},
    {"lfu", "the page with the fewest hits since it was cached; a baseline"},
    {"combined", "the page with the lowest (hits + 1) / age x recompute cost / bytes"},
    {"cost", "the page with the lowest learned probability of reuse x recompute cost / bytes"},
};

}  // namespace

std::span<const EvictionPolicyName> eviction_policies() { return kPolicies; }

std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name) {
  if (name == "lru") return std::make_unique<LruEviction>();
  if (name == "lfu") return std::make_unique<LfuEviction>();
  if (name == "combined") return std::make_unique<CombinedEviction>();
  if (name == "cost") return std::make_unique<CostEviction>();
  std::string known;
  for (const EvictionPolicyName& policy : kPolicies) {
    known += known.empty() ? policy.name : std::string(", ") + policy.name;
  }
  throw Error(Status::INVALID_ARGUMENT,
              "there is no eviction policy '" + std::string(name) + "'; the policies are " + known);
}

}  // namespace kvi
