// kvinfer.hpp - libkvinfer for C++17: RAII over kvinfer.h, which is the manual.
//
// Header-only. Handles are move-only and give themselves back. Every call that can fail comes in two
// forms: open() throws kvinfer::Error; try_open() returns Result<T>, and is all there is where
// exceptions are off (-fno-exceptions).
//
// Threads: as kvinfer.h. Functions given to the library must not throw.
#ifndef KVINFER_KVINFER_HPP_
#define KVINFER_KVINFER_HPP_

#if !defined(__cplusplus) || \
    (__cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L))
#error "kvinfer.hpp needs C++17 or later: compile with -std=c++17"
#endif

#include <kvinfer/kvinfer.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define KVINFER_EXCEPTIONS 1
#else
#define KVINFER_EXCEPTIONS 0
#endif

namespace kvinfer {

// ---- errors -------------------------------------------------------------------------------------

enum class Status : int32_t {
#define KVINFER_STATUS(name, value, text) name = value,
  KVI_STATUS_MAP(KVINFER_STATUS)
#undef KVINFER_STATUS
};

// Of the library that is loaded: major << 16 | minor << 8 | patch.
inline uint32_t version() { return kvi_version(); }

class Error : public std::exception {
 public:
  // Takes over what a call of kvinfer.h reported; error may be null.
  Error(kvi_status status, kvi_error* error)
      : status_(static_cast<Status>(status)),
        retryable_(kvi_error_retryable(error) != 0),
        needed_(kvi_error_needed(error)),
        available_(kvi_error_available(error)),
        message_(error != nullptr ? kvi_error_message(error) : kvi_status_name(status)) {
    kvi_error_release(error);
  }

  Status status() const { return status_; }
  const char* status_name() const { return kvi_status_name(static_cast<kvi_status>(status_)); }
  const std::string& message() const { return message_; }
  bool retryable() const { return retryable_; }
  uint64_t needed() const { return needed_; }
  uint64_t available() const { return available_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Status status_;
  bool retryable_;
  uint64_t needed_, available_;
  std::string message_;
};

// A value, or the error that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // Require ok().
  T& operator*() { return *std::get_if<0>(&state_); }
  const T& operator*() const { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  // Requires !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }

#if KVINFER_EXCEPTIONS
  // The value; throws the error.
  T value() && {
    if (!ok()) throw error();
    return std::move(**this);
  }
#endif

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }  // requires !ok()

#if KVINFER_EXCEPTIONS
  void value() && {
    if (error_) throw *error_;
  }
#endif

 private:
  std::optional<Error> error_;
};

using Milliseconds = std::chrono::milliseconds;

namespace detail {

// Calls a function of kvinfer.h whose last argument is kvi_error **.
template <typename Call>
Result<void> check(const Call& call) {
  kvi_error* error = nullptr;
  kvi_status status = call(&error);
  if (status == KVI_OK) return {};
  return Error(status, error);
}

// As check, for a call that fills a value.
template <typename T, typename Call>
Result<T> get(T value, const Call& call) {
  Result<void> result = check([&](kvi_error** error) { return call(value, error); });
  if (!result) return result.error();
  return value;
}

struct Release {
  void operator()(kvi_model* handle) const { kvi_model_release(handle); }
  void operator()(kvi_decoder* handle) const { kvi_decoder_release(handle); }
  void operator()(kvi_engine* handle) const { kvi_engine_release(handle); }
  void operator()(kvi_session* handle) const { kvi_session_release(handle); }
  void operator()(kvi_request* handle) const { kvi_request_release(handle); }
};
template <typename T>
using Handle = std::unique_ptr<T, Release>;

// call(T** out, kvi_error** error) makes the handle that Wrapper holds.
template <typename Wrapper, typename T, typename Call>
Result<Wrapper> make(const Call& call) {
  T* handle = nullptr;
  Result<void> result = check([&](kvi_error** error) { return call(&handle, error); });
  if (!result) return result.error();
  return Wrapper(Handle<T>(handle));
}

// Asks for the size of an output, then for the output.
template <typename Buffer, typename Call>
Result<Buffer> fill(const Call& call) {
  size_t needed = 0;
  Result<void> result = check(
      [&](kvi_error** error) { return call(nullptr, size_t{0}, &needed, error); });
  Buffer buffer;
  if (result && needed > 0) {
    buffer.resize(needed);
    result = check(
        [&](kvi_error** error) { return call(buffer.data(), buffer.size(), &needed, error); });
    if (result) buffer.resize(needed);  // of numbers that change it may now be less
  }
  if (!result) return result.error();
  return buffer;
}

inline uint32_t timeout(std::optional<Milliseconds> value) {
  if (!value) return KVI_FOREVER;
  if (value->count() < 0) return 0;
  return value->count() < KVI_FOREVER ? static_cast<uint32_t>(value->count()) : KVI_FOREVER - 1;
}

}  // namespace detail

// ---- options ------------------------------------------------------------------------------------

enum class LogLevel : int32_t { error, warning, info, debug };
using LogFunction = std::function<void(LogLevel, const char* message)>;

namespace detail {

inline void KVI_CALL call_log(void* user, int32_t level, const char* message) {
  (*static_cast<LogFunction*>(user))(static_cast<LogLevel>(level), message);
}
inline void KVI_CALL destroy_log(void* user) { delete static_cast<LogFunction*>(user); }

// Gives options a log function of their own, which the library destroys.
template <typename Options>
void attach_log(Options& options, const LogFunction& log) {
  if (!log) return;
  options.log = call_log;
  options.log_user = new LogFunction(log);
  options.log_destroy = destroy_log;
}

}  // namespace detail

class ModelOptions {
 public:
  ModelOptions() { kvi_model_options_init(&options_, sizeof options_); }
  ModelOptions& metadata_only() { return options_.load = KVI_LOAD_METADATA, *this; }
  ModelOptions& device(uint32_t index) { return options_.device = index, *this; }
  ModelOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  // Called with bytes done and in all, on the thread that opens; false aborts.
  ModelOptions& progress(std::function<bool(uint64_t done, uint64_t total)> function) {
    return progress_ = std::move(function), *this;
  }
  ModelOptions& log(LogFunction function) { return log_ = std::move(function), *this; }

  // For one call of kvi_model_open, during which *this stays where it is.
  kvi_model_options raw() const {
    kvi_model_options options = options_;
    if (progress_) {
      options.progress = call_progress;
      options.progress_user = const_cast<ModelOptions*>(this);
    }
    detail::attach_log(options, log_);
    return options;
  }

 private:
  static int32_t KVI_CALL call_progress(void* user, uint64_t done, uint64_t total) {
    return static_cast<ModelOptions*>(user)->progress_(done, total) ? KVI_CONTINUE : KVI_CANCEL;
  }

  kvi_model_options options_;
  std::function<bool(uint64_t, uint64_t)> progress_;
  LogFunction log_;
};

class EngineOptions {
 public:
  EngineOptions() { kvi_engine_options_init(&options_, sizeof options_); }
  EngineOptions& max_model_len(uint32_t tokens) { return options_.max_model_len = tokens, *this; }
  EngineOptions& max_sequences(uint32_t count) { return options_.max_sequences = count, *this; }
  EngineOptions& max_batch_tokens(uint32_t n) { return options_.max_batch_tokens = n, *this; }
  EngineOptions& max_queued(uint32_t count) { return options_.max_queued = count, *this; }
  EngineOptions& page_len(uint32_t tokens) { return options_.page_len = tokens, *this; }
  EngineOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  EngineOptions& exact() { return options_.activations = KVI_ACTIVATIONS_F32, *this; }
  EngineOptions& kv_budget_bytes(uint64_t n) { return options_.kv_budget_bytes = n, *this; }
  EngineOptions& log(LogFunction function) { return log_ = std::move(function), *this; }

  // For one call of kvi_engine_create or kvi_engine_open.
  kvi_engine_options raw() const {
    kvi_engine_options options = without_log();
    detail::attach_log(options, log_);
    return options;
  }
  kvi_engine_options without_log() const { return options_; }

 private:
  kvi_engine_options options_;
  LogFunction log_;
};

enum class Preset : int32_t {
  throughput = KVI_PRESET_THROUGHPUT,
  long_context = KVI_PRESET_LONG_CONTEXT,
  low_memory = KVI_PRESET_LOW_MEMORY,
};

// kvi_plan_options says what each means.
class PlanOptions {
 public:
  PlanOptions() { kvi_plan_options_init(&options_, sizeof options_); }
  explicit PlanOptions(Preset preset) : PlanOptions() {
    kvi_plan_options_preset(&options_, static_cast<int32_t>(preset), nullptr);
  }

  PlanOptions& max_num_seqs(uint32_t count) { return options_.max_num_seqs = count, *this; }
  PlanOptions& gpu_memory_utilization(double share) {
    return options_.gpu_memory_utilization = share, *this;
  }
  PlanOptions& device_memory_bytes(uint64_t n) { return options_.device_memory_bytes = n, *this; }
  PlanOptions& kv_budget_bytes(uint64_t n) { return options_.kv_budget_bytes = n, *this; }
  PlanOptions& max_model_len(uint32_t tokens) { return options_.max_model_len = tokens, *this; }
  PlanOptions& sequence_len(uint32_t tokens) { return options_.sequence_len = tokens, *this; }
  PlanOptions& max_num_batched_tokens(uint32_t n) {
    return options_.max_num_batched_tokens = n, *this;
  }
  PlanOptions& block_size(uint32_t tokens) { return options_.block_size = tokens, *this; }
  PlanOptions& kv_cache_dtype(std::string name) { return kv_cache_dtype_ = std::move(name), *this; }
  PlanOptions& enable_prefix_caching(bool value) {
    return options_.enable_prefix_caching = value, *this;
  }
  PlanOptions& swap_space_bytes(uint64_t n) { return options_.swap_space_bytes = n, *this; }
  PlanOptions& paused_sequences(uint32_t count) { return options_.paused_sequences = count, *this; }
  PlanOptions& prefix(uint32_t tokens, uint32_t users) {
    options_.prefix_len = tokens;
    return options_.prefix_users = users, *this;
  }
  PlanOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  PlanOptions& exact() { return options_.activations = KVI_ACTIVATIONS_F32, *this; }
  PlanOptions& must_fit(bool value = true) { return options_.must_fit = value, *this; }

  // Points into *this.
  kvi_plan_options raw() const {
    kvi_plan_options options = options_;
    options.kv_cache_dtype = kv_cache_dtype_.data();
    options.kv_cache_dtype_size = kv_cache_dtype_.size();
    return options;
  }

 private:
  kvi_plan_options options_;
  std::string kv_cache_dtype_ = "auto";
};

class GenerateOptions {
 public:
  GenerateOptions() { kvi_generate_options_init(&options_, sizeof options_); }
  static GenerateOptions greedy(uint32_t max_tokens) {
    return GenerateOptions().max_tokens(max_tokens).temperature(0);
  }

  // 0: only compute what the session holds, so that a later answer begins at once.
  GenerateOptions& max_tokens(uint32_t count) { return options_.max_tokens = count, *this; }
  GenerateOptions& temperature(float value) { return options_.temperature = value, *this; }
  GenerateOptions& top_k(uint32_t count) { return options_.top_k = count, *this; }
  GenerateOptions& top_p(float value) { return options_.top_p = value, *this; }
  GenerateOptions& min_p(float value) { return options_.min_p = value, *this; }
  GenerateOptions& repetition_penalty(float v) { return options_.repetition_penalty = v, *this; }
  GenerateOptions& presence_penalty(float v) { return options_.presence_penalty = v, *this; }
  GenerateOptions& frequency_penalty(float v) { return options_.frequency_penalty = v, *this; }
  GenerateOptions& top_logprobs(int32_t count) { return options_.top_logprobs = count, *this; }
  GenerateOptions& seed(uint64_t value) { return options_.seed = value, *this; }
  GenerateOptions& ignore_eos(bool value = true) { return options_.ignore_eos = value, *this; }
  GenerateOptions& stop(std::string text) { return stops_.push_back(std::move(text)), *this; }
  GenerateOptions& bias(int32_t token, float v) { return biases_.push_back({token, v}), *this; }
  GenerateOptions& timeout(Milliseconds limit) {
    return options_.timeout_ms = detail::timeout(limit), *this;
  }
  // What Stream::user, and kvi_request_user in a loop around Engine::wait, give back.
  GenerateOptions& user(void* object) { return options_.user = object, *this; }

  // Calls use(const kvi_generate_options *), which points into *this.
  template <typename Use>
  auto with_raw(const Use& use) const {
    std::vector<kvi_stop_text> stops;
    for (const std::string& stop : stops_) stops.push_back({stop.data(), stop.size()});
    kvi_generate_options options = options_;
    options.stops = stops.data();
    options.num_stops = static_cast<uint32_t>(stops.size());
    options.biases = biases_.data();
    options.num_biases = static_cast<uint32_t>(biases_.size());
    return use(&options);
  }

 private:
  kvi_generate_options options_;
  std::vector<std::string> stops_;
  std::vector<kvi_logit_bias> biases_;
};

class SessionOptions {
 public:
  SessionOptions() { kvi_session_options_init(&options_, sizeof options_); }
  const kvi_session_options& raw() const { return options_; }

 private:
  kvi_session_options options_;
};

class SnapshotOptions {
 public:
  SnapshotOptions() { kvi_snapshot_options_init(&options_, sizeof options_); }
  SnapshotOptions& allow_foreign_numerics(bool value = true) {
    return options_.allow_foreign_numerics = value, *this;
  }
  SnapshotOptions& session(const SessionOptions& options) { return session_ = options, *this; }

  // Calls use(const kvi_snapshot_options *), which points into *this.
  template <typename Use>
  auto with_raw(const Use& use) const {
    kvi_snapshot_options options = options_;
    options.session = &session_.raw();
    return use(&options);
  }

 private:
  kvi_snapshot_options options_;
  SessionOptions session_;
};

// ---- model --------------------------------------------------------------------------------------

enum class AddBos : int32_t { automatic = KVI_BOS_AUTO, yes = KVI_BOS_YES, no = KVI_BOS_NO };
enum class Special : int32_t { no = KVI_SPECIAL_NO, yes = KVI_SPECIAL_YES };

struct Message {
  std::string role, content;
};

namespace detail {

inline std::vector<kvi_message> raw_messages(const std::vector<Message>& messages) {
  std::vector<kvi_message> raw(messages.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    kvi_message_init(&raw[i], sizeof raw[i]);
    raw[i].role = messages[i].role.data();
    raw[i].role_size = messages[i].role.size();
    raw[i].content = messages[i].content.data();
    raw[i].content_size = messages[i].content.size();
  }
  return raw;
}

}  // namespace detail

namespace detail {

template <typename Call>
Result<kvi_plan> plan(const PlanOptions& options, const Call& call) {
  kvi_plan plan;
  kvi_plan_init(&plan, sizeof plan);
  const kvi_plan_options raw = options.raw();
  return get(plan, [&](kvi_plan& out, kvi_error** error) { return call(&raw, &out, error); });
}

}  // namespace detail

// Incremental text of tokens: whole code points. One thread at a time.
class Decoder {
 public:
  explicit Decoder(detail::Handle<kvi_decoder> handle) : handle_(std::move(handle)) {}
  kvi_decoder* raw() const { return handle_.get(); }

  // The text that token completes.
  Result<std::string> try_push(int32_t token) {
    return take([&](const char** text, size_t* size, kvi_error** error) {
      return kvi_decoder_push(raw(), token, text, size, error);
    });
  }
  Result<std::string> try_finish() {
    return take([&](const char** text, size_t* size, kvi_error** error) {
      return kvi_decoder_finish(raw(), text, size, error);
    });
  }

#if KVINFER_EXCEPTIONS
  std::string push(int32_t token) { return try_push(token).value(); }
  std::string finish() { return try_finish().value(); }
#endif

 private:
  template <typename Call>
  static Result<std::string> take(const Call& call) {
    const char* text = nullptr;
    size_t size = 0;
    Result<void> result = detail::check(
        [&](kvi_error** error) { return call(&text, &size, error); });
    if (!result) return result.error();
    return std::string(text, size);
  }

  detail::Handle<kvi_decoder> handle_;
};

class Model {
 public:
  static Result<Model> try_open(std::string_view path, const ModelOptions& options = {}) {
    return detail::make<Model, kvi_model>([&](kvi_model** out, kvi_error** error) {
      const kvi_model_options raw = options.raw();
      return kvi_model_open(path.data(), path.size(), &raw, out, error);
    });
  }
  explicit Model(detail::Handle<kvi_model> handle) : handle_(std::move(handle)) {}
  kvi_model* raw() const { return handle_.get(); }

  Result<kvi_model_info> try_info() const {
    kvi_model_info info;
    kvi_model_info_init(&info, sizeof info);
    return detail::get(info, [&](kvi_model_info& out, kvi_error** error) {
      return kvi_model_get_info(raw(), &out, error);
    });
  }
  // which: KVI_MODEL_*
  Result<std::string> try_text(int32_t which) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_text(raw(), which, buffer, capacity, needed, error);
        });
  }
  size_t metadata_count() const { return kvi_model_metadata_count(raw()); }
  Result<std::string> try_metadata_key(size_t index) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_metadata_key(raw(), index, buffer, capacity, needed, error);
        });
  }
  // As JSON.
  Result<std::string> try_metadata_value(std::string_view key) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_metadata_value(raw(), key.data(), key.size(), buffer, capacity, needed,
                                          error);
        });
  }
  Result<std::vector<int32_t>> try_tokenize(std::string_view text,
                                            AddBos add_bos = AddBos::automatic,
                                            Special parse_special = Special::no) const {
    return detail::fill<std::vector<int32_t>>(
        [&](int32_t* buffer, size_t capacity, size_t* count, kvi_error** error) {
          return kvi_tokenize(raw(), text.data(), text.size(), static_cast<int32_t>(add_bos),
                              static_cast<int32_t>(parse_special), buffer, capacity, count, error);
        });
  }
  Result<std::string> try_detokenize(const std::vector<int32_t>& tokens,
                                     Special render_special = Special::no) const {
    return detail::fill<std::string>([&](char* buffer, size_t capacity, size_t* needed,
                                         kvi_error** error) {
      return kvi_detokenize(raw(), tokens.data(), tokens.size(),
                            static_cast<int32_t>(render_special), buffer, capacity, needed, error);
    });
  }
  Result<Decoder> try_decoder(Special render_special = Special::no) const {
    return detail::make<Decoder, kvi_decoder>([&](kvi_decoder** out, kvi_error** error) {
      return kvi_decoder_create(raw(), static_cast<int32_t>(render_special), out, error);
    });
  }
  // arguments: a JSON object, or ""
  Result<std::string> try_apply_template(const std::vector<Message>& messages,
                                         std::string_view arguments = {}) const {
    const std::vector<kvi_message> turns = detail::raw_messages(messages);
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_apply_template(raw(), turns.data(), turns.size(), arguments.data(),
                                    arguments.size(), buffer, capacity, needed, error);
        });
  }
  Result<kvi_plan> try_plan(const PlanOptions& options = {}) const {
    return detail::plan(options, [&](const kvi_plan_options* known, kvi_plan* out, kvi_error** e) {
      return kvi_plan_model(raw(), known, out, e);
    });
  }

#if KVINFER_EXCEPTIONS
  static Model open(std::string_view path, const ModelOptions& options = {}) {
    return try_open(path, options).value();
  }
  kvi_model_info info() const { return try_info().value(); }
  std::string text(int32_t which) const { return try_text(which).value(); }
  std::string metadata_key(size_t index) const { return try_metadata_key(index).value(); }
  std::string metadata_value(std::string_view key) const { return try_metadata_value(key).value(); }
  std::vector<int32_t> tokenize(std::string_view text, AddBos add_bos = AddBos::automatic,
                                Special parse_special = Special::no) const {
    return try_tokenize(text, add_bos, parse_special).value();
  }
  std::string detokenize(const std::vector<int32_t>& tokens,
                         Special render_special = Special::no) const {
    return try_detokenize(tokens, render_special).value();
  }
  Decoder decoder(Special render_special = Special::no) const {
    return try_decoder(render_special).value();
  }
  std::string apply_template(const std::vector<Message>& messages,
                             std::string_view arguments = {}) const {
    return try_apply_template(messages, arguments).value();
  }
  kvi_plan plan(const PlanOptions& options = {}) const { return try_plan(options).value(); }
#endif

 private:
  detail::Handle<kvi_model> handle_;
};

// A prepared kvi_model_shape, to be filled in for try_plan.
inline kvi_model_shape model_shape() {
  kvi_model_shape shape;
  kvi_model_shape_init(&shape, sizeof shape);
  return shape;
}
inline Result<kvi_plan> try_plan(const kvi_model_shape& shape, const PlanOptions& options = {}) {
  return detail::plan(options, [&](const kvi_plan_options* known, kvi_plan* out, kvi_error** e) {
    return kvi_plan_shape(&shape, known, out, e);
  });
}
#if KVINFER_EXCEPTIONS
inline kvi_plan plan(const kvi_model_shape& shape, const PlanOptions& options = {}) {
  return try_plan(shape, options).value();
}
#endif

// ---- snapshots ----------------------------------------------------------------------------------

// Takes the next bytes of a snapshot; false: it failed, and the call with it.
using WriteFunction = std::function<bool(const void* bytes, size_t size)>;
// Gives the next bytes, at most capacity: how many, 0 at the end; nullopt: it failed.
using ReadFunction = std::function<std::optional<size_t>(void* buffer, size_t capacity)>;

namespace detail {

constexpr int32_t kFunctionFailed = -1;  // no answer of kvinfer.h: IO

inline int32_t KVI_CALL call_write(void* user, const void* bytes, size_t size) {
  return (*static_cast<const WriteFunction*>(user))(bytes, size) ? KVI_CONTINUE : kFunctionFailed;
}
inline int32_t KVI_CALL call_read(void* user, void* buffer, size_t capacity, size_t* size) {
  const std::optional<size_t> got = (*static_cast<const ReadFunction*>(user))(buffer, capacity);
  if (!got) return kFunctionFailed;
  *size = *got;
  return KVI_CONTINUE;
}

}  // namespace detail

// "damaged_page" for KVI_SNAPSHOT_DAMAGED_PAGE, and so on.
inline const char* snapshot_reason_name(int32_t reason) { return kvi_snapshot_reason_name(reason); }

// What a file says of itself; needs no model.
inline Result<kvi_snapshot_info> try_inspect_snapshot(std::string_view path) {
  kvi_snapshot_info info;
  kvi_snapshot_info_init(&info, sizeof info);
  return detail::get(info, [&](kvi_snapshot_info& out, kvi_error** error) {
    return kvi_snapshot_inspect(path.data(), path.size(), &out, error);
  });
}
// Whether it is whole: reason is KVI_SNAPSHOT_COMPLETE. Needs no model.
inline Result<kvi_snapshot_result> try_verify_snapshot(std::string_view path) {
  kvi_snapshot_result result;
  kvi_snapshot_result_init(&result, sizeof result);
  return detail::get(result, [&](kvi_snapshot_result& out, kvi_error** error) {
    return kvi_snapshot_verify(path.data(), path.size(), &out, error);
  });
}

#if KVINFER_EXCEPTIONS
inline kvi_snapshot_info inspect_snapshot(std::string_view path) {
  return try_inspect_snapshot(path).value();
}
inline kvi_snapshot_result verify_snapshot(std::string_view path) {
  return try_verify_snapshot(path).value();
}
#endif

// ---- generation ---------------------------------------------------------------------------------

enum class Finish : int32_t {
  none = KVI_FINISH_NONE,
  eos = KVI_FINISH_EOS,
  stop = KVI_FINISH_STOP,
  length = KVI_FINISH_LENGTH,
  context = KVI_FINISH_CONTEXT,
  cancelled = KVI_FINISH_CANCELLED,
  error = KVI_FINISH_ERROR,
};

inline const char* finish_name(Finish finish) {
  return kvi_finish_name(static_cast<int32_t>(finish));
}

// A piece of generated text: whole code points.
class Chunk {
 public:
  const std::string& text() const { return text_; }

 private:
  friend class Stream;
  std::string text_;
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

// What a request brings, chunk by chunk. Its destructor cancels, keeps what was made and waits for
// the step at hand, so that the session can go on at once.
class Stream {
 public:
  explicit Stream(detail::Handle<kvi_request> handle) : handle_(std::move(handle)) {}
  Stream(Stream&&) = default;
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      leave();
      handle_ = std::move(other.handle_);
      text_ = std::move(other.text_);
      finish_ = other.finish_;
    }
    return *this;
  }
  ~Stream() { leave(); }
  kvi_request* raw() const { return handle_.get(); }

  // The next chunk, waiting for it; nullopt at the end.
  Result<std::optional<Chunk>> try_next() {
    while (finish_ == Finish::none) {
      Chunk chunk;
      Result<void> result = read(chunk);
      if (!result) return result.error();
      if (!chunk.text_.empty()) return std::optional<Chunk>(std::move(chunk));
    }
    // A request that failed says so here.
    Result<void> ended = detail::check(
        [&](kvi_error** error) { return kvi_request_await(raw(), 0, error); });
    if (!ended) return ended.error();
    return std::optional<Chunk>();
  }

  const std::string& text() const { return text_; }  // of all chunks so far
  Finish finish() const { return finish_; }          // none until the last chunk was read
  void* user() const { return kvi_request_user(raw()); }

  void cancel() { kvi_request_cancel(raw(), KVI_STOP, nullptr); }       // any thread; keeps
  void roll_back() { kvi_request_cancel(raw(), KVI_CANCEL, nullptr); }  // any thread

  Result<kvi_usage> try_usage() const {
    kvi_usage usage;
    kvi_usage_init(&usage, sizeof usage);
    return detail::get(usage, [&](kvi_usage& out, kvi_error** error) {
      return kvi_request_get_usage(raw(), &out, error);
    });
  }
  // The ids generated so far.
  Result<std::vector<int32_t>> try_tokens() const {
    return all<int32_t>([&](size_t first, int32_t* out, size_t n, size_t* count, kvi_error** e) {
      return kvi_request_tokens(raw(), first, out, nullptr, n, count, e);
    });
  }
  Result<std::vector<float>> try_logprobs() const {
    return all<float>([&](size_t first, float* out, size_t n, size_t* count, kvi_error** e) {
      return kvi_request_tokens(raw(), first, nullptr, out, n, count, e);
    });
  }

  // The most probable tokens at the place of generated token index, best first.
  Result<std::vector<TokenLogprob>> try_top_logprobs(size_t index) const {
    int32_t tokens[64];
    float logprobs[64];
    size_t count = 0;
    Result<void> result = detail::check([&](kvi_error** error) {
      return kvi_request_top_logprobs(raw(), index, tokens, logprobs, 64, &count, error);
    });
    if (!result) return result.error();
    std::vector<TokenLogprob> top;
    for (size_t i = 0; i < count; ++i) top.push_back({tokens[i], logprobs[i]});
    return top;
  }

#if KVINFER_EXCEPTIONS
  std::optional<Chunk> next() { return try_next().value(); }
  kvi_usage usage() const { return try_usage().value(); }
  std::vector<int32_t> tokens() const { return try_tokens().value(); }
  std::vector<float> logprobs() const { return try_logprobs().value(); }
  std::vector<TokenLogprob> top_logprobs(size_t index) const {
    return try_top_logprobs(index).value();
  }

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Chunk;
    using difference_type = std::ptrdiff_t;
    using pointer = const Chunk*;
    using reference = const Chunk&;

    Iterator() = default;
    explicit Iterator(Stream* stream) : stream_(stream), chunk_(stream->next()) {}
    const Chunk& operator*() const { return *chunk_; }
    const Chunk* operator->() const { return &*chunk_; }
    Iterator& operator++() { return chunk_ = stream_->next(), *this; }
    void operator++(int) { ++*this; }
    bool operator!=(const Iterator& end) const {
      return chunk_.has_value() != end.chunk_.has_value();
    }
    bool operator==(const Iterator& end) const { return !(*this != end); }

   private:
    Stream* stream_ = nullptr;
    std::optional<Chunk> chunk_;
  };
  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(); }
#endif

 private:
  Result<void> read(Chunk& chunk) {
    Result<void> result = detail::check(
        [&](kvi_error** error) { return kvi_request_wait(raw(), KVI_FOREVER, error); });
    if (!result) return result;
    char buffer[1024];
    size_t size = 0;
    int32_t finish = KVI_FINISH_NONE;
    result = detail::check([&](kvi_error** error) {
      return kvi_request_read(raw(), buffer, sizeof buffer, &size, &finish, error);
    });
    if (!result) return result;
    chunk.text_.assign(buffer, size);
    text_ += chunk.text_;
    finish_ = static_cast<Finish>(finish);
    return {};
  }

  template <typename T, typename Call>
  static Result<std::vector<T>> all(const Call& call) {
    std::vector<T> items;
    for (;;) {
      T piece[256];
      size_t count = 0;
      Result<void> result = detail::check(
          [&](kvi_error** error) { return call(items.size(), piece, 256, &count, error); });
      if (!result) return result.error();
      if (count == 0) return items;
      items.insert(items.end(), piece, piece + count);
    }
  }

  void leave() {
    if (!handle_) return;
    cancel();
    kvi_request_await(raw(), KVI_FOREVER, nullptr);
  }

  detail::Handle<kvi_request> handle_;
  std::string text_;
  Finish finish_ = Finish::none;
};

// A running text; one thread at a time.
class Session {
 public:
  explicit Session(detail::Handle<kvi_session> handle) : handle_(std::move(handle)) {}
  kvi_session* raw() const { return handle_.get(); }

  Result<void> try_append(std::string_view text, AddBos add_bos = AddBos::automatic,
                          Special parse_special = Special::no) {
    kvi_part part;
    kvi_part_init(&part, sizeof part);
    part.text = text.data();
    part.text_size = text.size();
    part.add_bos = static_cast<int32_t>(add_bos);
    part.parse_special = static_cast<int32_t>(parse_special);
    return append_part(part);
  }
  Result<void> try_append(const std::vector<int32_t>& tokens) {
    kvi_part part;
    kvi_part_init(&part, sizeof part);
    part.kind = KVI_PART_TOKENS;
    part.tokens = tokens.data();
    part.num_tokens = tokens.size();
    return append_part(part);
  }
  // arguments: a JSON object, or ""
  Result<kvi_messages_result> try_set_messages(const std::vector<Message>& messages,
                                               std::string_view arguments = {}) {
    const std::vector<kvi_message> turns = detail::raw_messages(messages);
    kvi_messages_result result;
    kvi_messages_result_init(&result, sizeof result);
    return detail::get(result, [&](kvi_messages_result& out, kvi_error** error) {
      return kvi_session_set_messages(raw(), turns.data(), turns.size(), arguments.data(),
                                      arguments.size(), &out, error);
    });
  }
  Result<void> try_truncate(uint32_t num_tokens) {
    return detail::check(
        [&](kvi_error** error) { return kvi_session_truncate(raw(), num_tokens, error); });
  }
  Result<Session> try_fork() {
    return detail::make<Session, kvi_session>(
        [&](kvi_session** out, kvi_error** error) { return kvi_session_fork(raw(), out, error); });
  }
  Result<void> try_save(std::string_view path) {
    return detail::check([&](kvi_error** error) {
      return kvi_session_save(raw(), path.data(), path.size(), error);
    });
  }
  Result<void> try_save(const WriteFunction& write) {
    return detail::check([&](kvi_error** error) {
      return kvi_session_save_to(raw(), detail::call_write, const_cast<WriteFunction*>(&write),
                                 error);
    });
  }
  Result<std::vector<int32_t>> try_tokens() {
    return detail::fill<std::vector<int32_t>>(
        [&](int32_t* buffer, size_t capacity, size_t* count, kvi_error** error) {
          return kvi_session_tokens(raw(), buffer, capacity, count, error);
        });
  }
  Result<kvi_session_info> try_info() const {
    kvi_session_info info;
    kvi_session_info_init(&info, sizeof info);
    return detail::get(info, [&](kvi_session_info& out, kvi_error** error) {
      return kvi_session_get_info(raw(), &out, error);
    });
  }
  // Generates after what the session holds.
  Result<Stream> try_generate(const GenerateOptions& options = {}) {
    return options.with_raw([&](const kvi_generate_options* raw_options) {
      return detail::make<Stream, kvi_request>([&](kvi_request** out, kvi_error** error) {
        return kvi_session_generate(raw(), raw_options, out, error);
      });
    });
  }

#if KVINFER_EXCEPTIONS
  void append(std::string_view text, AddBos add_bos = AddBos::automatic,
              Special parse_special = Special::no) {
    try_append(text, add_bos, parse_special).value();
  }
  void append(const std::vector<int32_t>& tokens) { try_append(tokens).value(); }
  kvi_messages_result set_messages(const std::vector<Message>& messages,
                                   std::string_view arguments = {}) {
    return try_set_messages(messages, arguments).value();
  }
  void truncate(uint32_t num_tokens) { try_truncate(num_tokens).value(); }
  Session fork() { return try_fork().value(); }
  void save(std::string_view path) { try_save(path).value(); }
  void save(const WriteFunction& write) { try_save(write).value(); }
  std::vector<int32_t> tokens() { return try_tokens().value(); }
  kvi_session_info info() const { return try_info().value(); }
  Stream generate(const GenerateOptions& options = {}) { return try_generate(options).value(); }
#endif

 private:
  Result<void> append_part(const kvi_part& part) {
    return detail::check(
        [&](kvi_error** error) { return kvi_session_append(raw(), &part, 1, error); });
  }

  detail::Handle<kvi_session> handle_;
};

// A session that was loaded, and what was taken of its snapshot.
struct LoadedSession {
  Session session;
  kvi_snapshot_result taken;
};

// ---- engine -------------------------------------------------------------------------------------

// What Engine::score found, for the tokens from `first` on.
struct Scores {
  std::vector<float> logprobs;
  std::vector<int32_t> top1;
};

class Engine {
 public:
  static Result<Engine> try_open(std::string_view path, const EngineOptions& options = {}) {
    return detail::make<Engine, kvi_engine>([&](kvi_engine** out, kvi_error** error) {
      const kvi_engine_options raw = options.raw();
      return kvi_engine_open(path.data(), path.size(), &raw, out, error);
    });
  }
  static Result<Engine> try_create(const Model& model, const EngineOptions& options = {}) {
    return detail::make<Engine, kvi_engine>([&](kvi_engine** out, kvi_error** error) {
      const kvi_engine_options raw = options.raw();
      return kvi_engine_create(model.raw(), &raw, out, error);
    });
  }
  explicit Engine(detail::Handle<kvi_engine> handle) : handle_(std::move(handle)) {}
  kvi_engine* raw() const { return handle_.get(); }

  Result<Model> try_model() const {
    return detail::make<Model, kvi_model>(
        [&](kvi_model** out, kvi_error** error) { return kvi_engine_model(raw(), out, error); });
  }
  Result<Session> try_session(const SessionOptions& options = {}) const {
    return detail::make<Session, kvi_session>([&](kvi_session** out, kvi_error** error) {
      return kvi_session_create(raw(), &options.raw(), out, error);
    });
  }
  Result<LoadedSession> try_load_session(std::string_view path,
                                         const SnapshotOptions& options = {}) const {
    return load(options, [&](const kvi_snapshot_options* raw_options, kvi_session** out,
                             kvi_snapshot_result* taken, kvi_error** error) {
      return kvi_session_load(raw(), path.data(), path.size(), raw_options, out, taken, error);
    });
  }
  Result<LoadedSession> try_load_session(const ReadFunction& read,
                                         const SnapshotOptions& options = {}) const {
    return load(options, [&](const kvi_snapshot_options* raw_options, kvi_session** out,
                             kvi_snapshot_result* taken, kvi_error** error) {
      return kvi_session_load_from(raw(), detail::call_read, const_cast<ReadFunction*>(&read),
                                   raw_options, out, taken, error);
    });
  }
  Result<kvi_stats> try_stats() const {
    kvi_stats stats;
    kvi_stats_init(&stats, sizeof stats);
    return detail::get(stats, [&](kvi_stats& out, kvi_error** error) {
      return kvi_engine_get_stats(raw(), &out, error);
    });
  }
  // Prometheus text, format 0.0.4.
  Result<std::string> try_metrics_text() const {
    for (;;) {  // it may have grown since its size was told
      auto text = detail::fill<std::string>(
          [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
            return kvi_engine_metrics_text(raw(), buffer, capacity, needed, error);
          });
      if (text || text.error().status() != Status::BUFFER_TOO_SMALL) return text;
    }
  }
  Result<Scores> try_score(const std::vector<int32_t>& tokens, size_t first = 1) const {
    const size_t count = first < tokens.size() ? tokens.size() - first : 0;
    Scores scores{std::vector<float>(count), std::vector<int32_t>(count)};
    return detail::get(std::move(scores), [&](Scores& out, kvi_error** error) {
      return kvi_score(raw(), tokens.data(), tokens.size(), first, out.logprobs.data(),
                       out.top1.data(), nullptr, error);
    });
  }
  // The requests (Stream::raw) that have news, at most max_count; none within the timeout is TIMEOUT.
  Result<std::vector<kvi_request*>> try_wait(size_t max_count = 64,
                                             std::optional<Milliseconds> timeout = std::nullopt) {
    std::vector<kvi_request*> requests(max_count);
    size_t count = 0;
    Result<void> result = detail::check([&](kvi_error** error) {
      return kvi_engine_wait(raw(), requests.data(), max_count, &count, detail::timeout(timeout),
                             error);
    });
    if (!result) return result.error();
    requests.resize(count);
    return requests;
  }
  // Ends all work; returns when the engine's last thread has ended. Needed only before dlclose.
  Result<void> try_close(std::optional<Milliseconds> timeout = std::nullopt) const {
    return detail::check([&](kvi_error** error) {
      return kvi_engine_close(raw(), detail::timeout(timeout), error);
    });
  }

#if KVINFER_EXCEPTIONS
  static Engine open(std::string_view path, const EngineOptions& options = {}) {
    return try_open(path, options).value();
  }
  static Engine create(const Model& model, const EngineOptions& options = {}) {
    return try_create(model, options).value();
  }
  Model model() const { return try_model().value(); }
  Session session(const SessionOptions& options = {}) const { return try_session(options).value(); }
  LoadedSession load_session(std::string_view path, const SnapshotOptions& options = {}) const {
    return try_load_session(path, options).value();
  }
  LoadedSession load_session(const ReadFunction& read, const SnapshotOptions& options = {}) const {
    return try_load_session(read, options).value();
  }
  kvi_stats stats() const { return try_stats().value(); }
  std::string metrics_text() const { return try_metrics_text().value(); }
  Scores score(const std::vector<int32_t>& tokens, size_t first = 1) const {
    return try_score(tokens, first).value();
  }
  std::vector<kvi_request*> wait(size_t max_count = 64,
                                 std::optional<Milliseconds> timeout = std::nullopt) {
    return try_wait(max_count, timeout).value();
  }
  void close(std::optional<Milliseconds> timeout = std::nullopt) const {
    try_close(timeout).value();
  }
#endif

 private:
  template <typename Call>
  static Result<LoadedSession> load(const SnapshotOptions& options, const Call& call) {
    kvi_snapshot_result taken;
    kvi_snapshot_result_init(&taken, sizeof taken);
    Result<Session> session = options.with_raw([&](const kvi_snapshot_options* raw_options) {
      return detail::make<Session, kvi_session>([&](kvi_session** out, kvi_error** error) {
        return call(raw_options, out, &taken, error);
      });
    });
    if (!session) return session.error();
    return LoadedSession{std::move(*session), taken};
  }

  detail::Handle<kvi_engine> handle_;
};

}  // namespace kvinfer

#endif  // KVINFER_KVINFER_HPP_
