// Budgets that engines share.
#include "base/error.h"
#include "base/text.h"
#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 46;

uint64_t limit_argument(uint64_t limit_bytes) {
  if (limit_bytes >= 1 && limit_bytes <= kMostBytes) return limit_bytes;
  throw Error(Status::INVALID_ARGUMENT,
              concat("limit_bytes is ", limit_bytes, "; it must be from 1 to ", kMostBytes));
}

}  // namespace

extern "C" {

kvi_status kvi_budget_info_init(kvi_budget_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kvi_budget_info{}); });
}

kvi_status kvi_budget_create(uint64_t limit_bytes, kvi_budget** out, kvi_error** error) {
  return guarded(error, [&] {
    require(out, "out");
    *out = new kvi_budget{std::make_shared<MemoryBudget>(limit_argument(limit_bytes))};
  });
}

kvi_status kvi_budget_set_limit(kvi_budget* budget, uint64_t limit_bytes, kvi_error** error) {
  return guarded(error, [&] {
    require(budget, "budget");
    budget->budget->set_limit(limit_argument(limit_bytes));
  });
}

kvi_status kvi_budget_get_info(kvi_budget* budget, kvi_budget_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require(budget, "budget");
    require_result(info, "info");
    write_struct(info, {
                           .struct_size = 0,
                           .num_engines = static_cast<uint32_t>(budget->budget->num_members()),
                           .limit_bytes = budget->budget->limit(),
                           .leased_bytes = budget->budget->leased(),
                       });
  });
}

void kvi_budget_release(kvi_budget* budget) {
  unless_forked([&] { delete budget; });
}

}  // extern "C"
