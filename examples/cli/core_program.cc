#include "core_program.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX has no header for it

namespace cli {
namespace {

constexpr const char* kProgram = "kvi_sim";

[[noreturn]] void fail(const std::string& path, int error) {
  throw Failure(
      error == ENOENT ? ExitCode::file : ExitCode::failure,
      "cannot run " + path + ", which this needs: " + std::generic_category().message(error));
}

std::string path_of_program() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (error ? std::filesystem::path() : self.parent_path()) / kProgram;
}

// A child whose stdout is a pipe to us.
class Child {
 public:
  Child(const std::string& path, const std::vector<std::string>& arguments) {
    int ends[2];
    if (pipe(ends) != 0) fail(path, errno);
    out_ = ends[0];
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    for (int end : ends) posix_spawn_file_actions_addclose(&files, end);
    // Ctrl-C is blocked in this program, but shall end the child.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

    std::vector<std::string> copies = arguments;
    std::vector<char*> argv = {const_cast<char*>(kProgram)};
    for (std::string& argument : copies) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const int error = posix_spawn(&id_, path.c_str(), &files, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    if (error != 0) {
      close(out_);
      fail(path, error);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  std::string read_all() {
    std::string text;
    char buffer[4096];
    for (;;) {
      const ssize_t size = read(out_, buffer, sizeof buffer);
      if (size > 0) text.append(buffer, static_cast<size_t>(size));
      if (size == 0 || (size < 0 && errno != EINTR)) break;
    }
    close(out_);
    return text;
  }

  int wait() const {
    int status = 0;
    while (waitpid(id_, &status, 0) < 0 && errno == EINTR) continue;
    return status;
  }

 private:
  pid_t id_ = -1;
  int out_ = -1;
};

ExitCode exit_code_of(int status) {
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGINT ? ExitCode::interrupted : ExitCode::failure;
  }
  for (ExitCode code : {ExitCode::ok, ExitCode::usage, ExitCode::file, ExitCode::exhausted}) {
    if (WEXITSTATUS(status) == static_cast<int>(code)) return code;
  }
  return ExitCode::failure;
}

}  // namespace

std::string run_core_program(const std::vector<std::string>& arguments) {
  Child child(path_of_program(), arguments);
  std::string text = child.read_all();
  const ExitCode code = exit_code_of(child.wait());
  if (code != ExitCode::ok) throw Failure(code, std::string(kProgram) + " failed");
  return text;
}

Json ask_core_program(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const std::string text = run_core_program(arguments);
  Json answer = Json::parse(text, nullptr, false);
  if (answer.is_discarded()) {
    throw Failure(ExitCode::failure, std::string(kProgram) + " answered no JSON: another version?");
  }
  return answer;
}

std::vector<std::string> core_shape_arguments(const kvi_model_info& info, uint32_t page_len) {
  const auto text = [](uint32_t number) { return std::to_string(number); };
  return {"--layers",   text(info.num_layers), "--window-layers", text(info.num_window_layers),
          "--window",   text(info.window),     "--kv-heads",      text(info.num_kv_heads),
          "--head-dim", text(info.head_dim),   "--page-len",      text(page_len)};
}

}  // namespace cli
