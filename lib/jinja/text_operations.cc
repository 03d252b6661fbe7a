#include "jinja/text_operations.h"

#include "base/text.h"
#include "base/utf8.h"

namespace kvi::jinja {

Value strip_text(Runtime& runtime, const MarkedText& text, Sides sides, const Value& chars) {
  if (!chars.is_none() && !chars.is_string()) {
    runtime.fail(concat("strip takes a string, not a ", chars.type_name()));
  }
  std::optional<std::string_view> set;
  if (chars.is_string()) set = chars.as_view();
  runtime.meter().work(text.size() * (1 + (set ? set->size() / 64 : 0)));
  Range kept = strip(text.view(), sides, set);
  return runtime.slice_of(text, kept.begin, kept.end);
}

namespace {

// Python puts the replacement of "" before each code point and at the end.
Value replace_nothing(Runtime& runtime, const MarkedText& text, const MarkedText& to,
                      uint64_t max_count) {
  TextBuilder out(runtime.meter());
  size_t pos = 0;
  for (uint64_t done = 0; done < max_count; ++done) {
    out.append(to);
    if (pos == text.size()) break;
    size_t next = next_code_point(text.view(), pos);
    out.append_slice(text, pos, next);
    pos = next;
  }
  out.append_slice(text, pos, text.size());
  return out.finish();
}

}  // namespace

Value replace_text(Runtime& runtime, const MarkedText& text, const MarkedText& from,
                   const MarkedText& to, int64_t max_count) {
  uint64_t count = max_count < 0 ? UINT64_MAX : static_cast<uint64_t>(max_count);
  if (from.empty()) return replace_nothing(runtime, text, to, count);
  runtime.meter().work(text.size());
  TextBuilder out(runtime.meter());
  size_t pos = 0;
  for (uint64_t done = 0; done < count; ++done) {
    size_t found = find_text(text.view(), from.view(), pos);
    if (found == std::string_view::npos) break;
    out.append_slice(text, pos, found);
    out.append(to);
    pos = found + from.size();
  }
  out.append_slice(text, pos, text.size());
  return out.finish();
}

Value join_text(Runtime& runtime, const MarkedText& separator, const std::vector<Value>& items) {
  TextBuilder out(runtime.meter());
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(separator);
    Value storage;
    out.append(runtime.text_of(items[i], storage));
  }
  return out.finish();
}

namespace {

void append_cased(std::string& out, char32_t code_point, Case to) {
  switch (to) {
    case Case::upper: append_upper(out, code_point); break;
    case Case::lower: append_lower(out, code_point); break;
    case Case::title: append_title(out, code_point); break;
  }
}

}  // namespace

void append_cased(TextBuilder& out, const MarkedText& text, size_t begin, size_t end, Case to) {
  out.meter().work((end - begin) * 64);  // a code point costs a search in the table
  std::string mapped;
  while (begin < end) {
    // A stretch of one origin at a time.
    Origin origin = text.origin_at(begin);
    mapped.clear();
    while (begin < end && mapped.size() < 256 && text.origin_at(begin) == origin) {
      CodePoint c = decode_utf8(text.view(), begin);
      append_cased(mapped, c.value, to);
      begin += static_cast<size_t>(c.size);
    }
    out.append(mapped, origin);
  }
}

Value capitalize_text(Runtime& runtime, const MarkedText& text) {
  TextBuilder out(runtime.meter());
  if (!text.empty()) {
    size_t first = next_code_point(text.view(), 0);
    append_cased(out, text, 0, first, Case::title);
    append_cased(out, text, first, text.size(), Case::lower);
  }
  return out.finish();
}

}  // namespace kvi::jinja
