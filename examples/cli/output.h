// What the program shows: JSON and text on stdout, progress and errors on stderr; its exit codes.
#pragma once

#include <cstdint>
#include <kvinfer/kvinfer.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace cli {

using Json = nlohmann::ordered_json;

// Documented in kvinfer(1).
enum class ExitCode {
  ok = 0,
  failure = 1,
  usage = 2,         // the command line or an argument's value
  file = 3,          // the model or another file is missing, broken or not supported
  exhausted = 4,     // memory, KV budget or context
  interrupted = 130  // Ctrl-C
};

// A failure of the program's own.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

ExitCode exit_code(const kvinfer::Error& error);
// What the library says, with this program's names of the options.
std::string message_of(const kvinfer::Error& error);
std::string with_option_names(std::string text);

bool stdin_is_terminal();
void print_json(const Json& json);  // one line on stdout
// "kvinfer: CORRUPT: ..." on stderr; name may be empty.
void print_error(const std::string& name, const std::string& message);
void print_warning(const std::string& message);
// Flushes stdout; throws Failure where it could not be written.
void finish_output();

std::string format_bytes(uint64_t bytes);  // "1.50 GiB"

// A line on stderr that shows how far something is; nothing where stderr is no terminal.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(uint64_t done, uint64_t total);
  void clear();
  bool visible() const { return visible_; }

 private:
  const std::string what_;
  const bool visible_;
  int shown_percent_ = -1;
};

}  // namespace cli
