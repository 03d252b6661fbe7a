#include "capi/arguments.h"

#include <algorithm>
#include <cstring>

namespace kvi::capi {

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(Status::INVALID_ARGUMENT, concat(name, " is NULL"));
}

void reject_value(const char* name, int64_t value, const char* expected) {
  throw Error(Status::INVALID_ARGUMENT, concat(name, " is ", value, "; it must be ", expected));
}

std::string_view text_argument(const char* text, size_t size, const char* name) {
  if (text == nullptr && size == 0) return {};
  require(text, name);
  if (size == KVI_ZERO_TERMINATED) return {text, std::strlen(text)};
  if (size > PTRDIFF_MAX) {
    throw Error(Status::INVALID_ARGUMENT, concat(name, " cannot have ", size, " bytes"));
  }
  return {text, size};
}

std::string_view text_member(const char* text, size_t size, const char* name) {
  if (text == nullptr && size == KVI_ZERO_TERMINATED) return {};
  return text_argument(text, size, name);
}

std::string tenant_argument(const char* tenant, size_t size) {
  constexpr size_t kMostBytes = size_t{1} << 20;
  if (size == KVI_ZERO_TERMINATED) size = tenant == nullptr ? 0 : std::strlen(tenant);
  if (size > kMostBytes) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("the tenant has ", size, " bytes; it may have at most ", kMostBytes));
  }
  if (size > 0) require(tenant, "tenant");
  return std::string(tenant == nullptr ? "" : tenant, size);
}

std::string name_argument(const char* text, size_t size, const char* name) {
  std::string_view view = text_argument(text, size, name);
  if (view.empty()) throw Error(Status::INVALID_ARGUMENT, concat(name, " is empty"));
  if (view.find('\0') != view.npos) {
    throw Error(Status::INVALID_ARGUMENT, concat(name, " holds a NUL byte: ", quoted(view)));
  }
  return std::string(view);
}

void check_room(const void* buffer, size_t capacity, size_t element_bytes, const char* name) {
  if (capacity > PTRDIFF_MAX / element_bytes) {
    throw Error(Status::INVALID_ARGUMENT, concat("no buffer has a capacity of ", capacity));
  }
  if (capacity != 0) require(buffer, name);
}

namespace {

// Whether there is something to copy; a question for the size alone has no buffer.
bool fits(size_t size, const void* buffer, size_t capacity, size_t* needed, const char* unit) {
  if (needed != nullptr) *needed = size;
  if (buffer == nullptr) {
    require(needed, "where there is no buffer, the place for the size");
    return false;
  }
  if (size <= capacity) return true;
  throw Error(Status::BUFFER_TOO_SMALL,
              concat("the output has ", size, " ", unit, " and the buffer room for ", capacity))
      .amounts(size, capacity);
}

}  // namespace

void write_text(std::string_view text, char* buffer, size_t capacity, size_t* needed) {
  check_room(buffer, capacity, 1, "buffer");
  if (!fits(text.size(), buffer, capacity, needed, "bytes")) return;
  std::copy(text.begin(), text.end(), buffer);
  if (capacity > text.size()) buffer[text.size()] = '\0';
}

void write_tokens(std::span<const TokenId> tokens, int32_t* buffer, size_t capacity,
                  size_t* count) {
  check_room(buffer, capacity, sizeof(TokenId), "tokens");
  if (!fits(tokens.size(), buffer, capacity, count, "tokens")) return;
  std::copy(tokens.begin(), tokens.end(), buffer);
}

AddBos add_bos_argument(int32_t value) {
  switch (value) {
    case KVI_BOS_AUTO: return AddBos::automatic;
    case KVI_BOS_YES: return AddBos::yes;
    case KVI_BOS_NO: return AddBos::no;
    default: reject_value("add_bos", value, "one of KVI_BOS_*");
  }
}

bool special_argument(int32_t value, const char* name) {
  if (value != KVI_SPECIAL_NO && value != KVI_SPECIAL_YES) {
    reject_value(name, value, "KVI_SPECIAL_NO or KVI_SPECIAL_YES");
  }
  return value == KVI_SPECIAL_YES;
}

bool flag_argument(uint32_t value, const char* name) {
  if (value > 1) reject_value(name, value, "0 or 1");
  return value == 1;
}

std::optional<std::chrono::milliseconds> timeout_argument(uint32_t timeout_ms) {
  if (timeout_ms == KVI_FOREVER) return std::nullopt;
  return std::chrono::milliseconds(timeout_ms);
}

}  // namespace kvi::capi
