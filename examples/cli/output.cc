#include "output.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <utility>

namespace cli {
namespace {

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

// https://no-color.org
bool stderr_has_color() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here sets the environment.
  const char* no_color = std::getenv("NO_COLOR");
  return stderr_is_terminal() && (no_color == nullptr || *no_color == '\0');
}

struct Naming {
  const char* library;
  const char* option;
};

constexpr Naming kNamings[] = {{"block_size", "--block-size"},
                               {"device_memory_bytes", "--gpu-memory"},
                               {"gpu_memory_utilization", "--gpu-memory-utilization"},
                               {"kv_cache_dtype", "--kv-cache-dtype"},
                               {"max_num_batched_tokens", "--max-num-batched-tokens"},
                               {"max_num_seqs", "--max-num-seqs"},
                               {"paused_sequences", "--paused"},
                               {"prefix_len", "--prefix-len"},
                               {"prefix_users", "--prefix-users"},
                               {"sequence_len", "--sequence-len"},
                               {"swap_space_bytes", "--swap-space"},
                               {"frequency_penalty", "--frequency-penalty"},
                               {"kv_budget_bytes", "--kv-budget"},
                               {"max_model_len", "--max-model-len"},
                               {"max_sequences", "--sequences"},
                               {"max_tokens", "--max-tokens"},
                               {"min_p", "--min-p"},
                               {"num_threads", "--threads"},
                               {"page_len", "--page-len"},
                               {"presence_penalty", "--presence-penalty"},
                               {"repetition_penalty", "--repeat-penalty"},
                               {"temperature", "--temp"},
                               {"top_logprobs", "--logprobs"},
                               {"top_p", "--top-p"},
                               {", or KVI_AUTO", ""}};

// Whether a name ends at this place of a text: what goes on is another name, or a path.
bool ends_name(const std::string& text, size_t place) {
  return place >= text.size() || std::strchr(" ,;:", text[place]) != nullptr;
}

}  // namespace

std::string message_of(const kvinfer::Error& error) { return with_option_names(error.message()); }

std::string with_option_names(std::string text) {
  for (const Naming& naming : kNamings) {
    const size_t size = std::strlen(naming.library);
    size_t place = 0;
    while ((place = text.find(naming.library, place)) != text.npos) {
      const bool starts = place == 0 || text[place - 1] == ' ' || naming.library[0] == ',';
      if (starts && ends_name(text, place + size)) text.replace(place, size, naming.option);
      ++place;
    }
  }
  return text;
}

ExitCode exit_code(const kvinfer::Error& error) {
  using kvinfer::Status;
  switch (error.status()) {
    case Status::INVALID_ARGUMENT: return ExitCode::usage;
    case Status::NOT_FOUND:
    case Status::IO:
    case Status::CORRUPT:
    case Status::UNSUPPORTED: return ExitCode::file;
    case Status::OUT_OF_MEMORY:
    case Status::EXHAUSTED:
    case Status::CONTEXT_FULL: return ExitCode::exhausted;
    case Status::CANCELLED: return ExitCode::interrupted;
    default: return ExitCode::failure;
  }
}

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }

void print_json(const Json& json) {
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
}

void print_error(const std::string& name, const std::string& message) {
  const char* red = stderr_has_color() ? "\033[31m" : "";
  const char* plain = stderr_has_color() ? "\033[0m" : "";
  std::cerr << "kvinfer: " << red << name << (name.empty() ? "" : ": ") << plain << message << "\n";
}

void print_warning(const std::string& message) {
  std::cerr << "kvinfer: warning: " << message << "\n";
}

void finish_output() {
  std::cout.flush();
  if (!std::cout) throw Failure(ExitCode::failure, "cannot write to stdout");
}

std::string format_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

Progress::Progress(std::string what) : what_(std::move(what)), visible_(stderr_is_terminal()) {}

void Progress::show(uint64_t done, uint64_t total) {
  if (!visible_ || total == 0) return;
  const int percent = static_cast<int>(100.0 * static_cast<double>(done) /
                                       static_cast<double>(total));
  if (percent == shown_percent_) return;
  shown_percent_ = percent;
  std::cerr << "\r" << what_ << " " << percent << " %" << std::flush;
}

void Progress::clear() {
  if (shown_percent_ < 0) return;
  std::cerr << "\r\033[K" << std::flush;
  shown_percent_ = -1;
}

}  // namespace cli
