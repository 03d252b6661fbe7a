// Sessions, and what their requests bring.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_SESSION_HPP_
#define KVINFER_SESSION_HPP_

#include <kvinfer/cache.hpp>
#include <kvinfer/errors.hpp>
#include <kvinfer/model.hpp>
#include <kvinfer/options.hpp>
#include <kvinfer/snapshot.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvinfer {

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
  // Gives the pages back and keeps a copy in a lower tier until the session goes on.
  Result<void> try_suspend(Tier tier) {
    return detail::check([&](kvi_error** error) {
      return kvi_session_suspend(raw(), static_cast<int32_t>(tier), error);
    });
  }
  // Begins to bring the pages back; what is generated next would do it too.
  Result<void> try_resume() {
    return detail::check([&](kvi_error** error) { return kvi_session_resume(raw(), error); });
  }
  Result<void> try_save(std::string_view path) {
    return detail::check([&](kvi_error** error) {
      return kvi_session_save(raw(), path.data(), path.size(), error);
    });
  }
  Result<void> try_save(const WriteFunction& write) {
    Result<void> result = detail::Callback<WriteFunction>::check(write, "write");
    if (!result) return result;
    detail::Callback<WriteFunction> callback(write);
    result = detail::check([&](kvi_error** error) {
      return kvi_session_save_to(raw(), detail::call_write, &callback, error);
    });
    callback.rethrow();
    return result;
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
  void suspend(Tier tier) { try_suspend(tier).value(); }
  void resume() { try_resume().value(); }
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

}  // namespace kvinfer

#endif  // KVINFER_SESSION_HPP_
