// Checks what callers pass, and hands texts and arrays over to them and back.
//
// All throw INVALID_ARGUMENT naming the argument as kvinfer.h does.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "kvinfer/kvinfer.h"
#include "tokenizer/tokenizer.h"

namespace kvi::capi {

void require(const void* pointer, const char* name);

// Text in: NULL is accepted where size is 0.
std::string_view text_argument(const char* text, size_t size, const char* name);
// Text in a struct whose _init function sets KVI_ZERO_TERMINATED: NULL is accepted with that too.
std::string_view text_member(const char* text, size_t size, const char* name);
// A path or key: not empty, and without NUL bytes.
std::string name_argument(const char* text, size_t size, const char* name);

// Any bytes, at most 1 MiB; NULL is the empty name where size is 0.
std::string tenant_argument(const char* tenant, size_t size);

// An array in: NULL is accepted where count is 0.
template <typename T>
std::span<const T> array_argument(const T* items, size_t count, const char* name) {
  if (count > PTRDIFF_MAX / sizeof(T)) {
    throw Error(Status::INVALID_ARGUMENT, concat(name, " cannot have ", count, " elements"));
  }
  if (count != 0) require(items, name);
  return {items, count};
}

// Text out, as convention 4 of kvinfer.h.
void write_text(std::string_view text, char* buffer, size_t capacity, size_t* needed);
// Tokens out, likewise.
void write_tokens(std::span<const TokenId> tokens, int32_t* buffer, size_t capacity, size_t* count);
// A room of capacity elements; NULL only with capacity 0.
void check_room(const void* buffer, size_t capacity, size_t element_bytes, const char* name);

AddBos add_bos_argument(int32_t value);
bool special_argument(int32_t value, const char* name);  // KVI_SPECIAL_YES
inline ParseSpecial parse_special_argument(int32_t value) {
  return special_argument(value, "parse_special") ? ParseSpecial::yes : ParseSpecial::no;
}

[[noreturn]] void reject_value(const char* name, int64_t value, const char* expected);

// 0 and 1, as options hold truth.
bool flag_argument(uint32_t value, const char* name);

// nullopt for KVI_FOREVER.
std::optional<std::chrono::milliseconds> timeout_argument(uint32_t timeout_ms);

}  // namespace kvi::capi
