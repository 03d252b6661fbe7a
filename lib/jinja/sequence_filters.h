// The filters on sequences: choosing, ordering, joining. The table of filters names them.
//
// Not thread-safe: they meter through the runtime.
#pragma once

#include "jinja/runtime.h"

namespace kvi::jinja {

Value filter_batch(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_dictsort(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_first(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_items(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_join(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_last(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_length(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_list(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_map(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_max(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_min(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_reject(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_rejectattr(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_reverse(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_select(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_selectattr(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_sort(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_sum(Runtime& runtime, const Value& value, const Arguments& arguments);
Value filter_unique(Runtime& runtime, const Value& value, const Arguments& arguments);

}  // namespace kvi::jinja
