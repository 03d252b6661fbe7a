// kvinfer: the library's command line program. It uses the public interface only.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "commands.h"
#include "interrupt.h"
#include "output.h"

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 success; 1 failure; 2 command line or argument; 3 file missing, broken or not\n"
    "supported; 4 memory, KV budget or context exhausted; 130 interrupted. See kvinfer(1).";

std::string version() {
  const uint32_t version = kvi_version();
  return "kvinfer " + std::to_string(version >> 16) + "." + std::to_string(version >> 8 & 0xff) +
         "." + std::to_string(version & 0xff);
}

std::string unknown_command(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining();
  std::string text = rest.empty() || rest[0][0] == '-' ? "a command is missing"
                                                       : "there is no command " + rest[0];
  const char* separator = "; the commands are ";
  for (const CLI::App* command : app.get_subcommands({})) {
    text += separator + command->get_name();
    separator = ", ";
  }
  return text;
}

cli::ExitCode run(int argc, char** argv) {
  CLI::App app("Large language models in your own process: the command line of libkvinfer");
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  app.footer(kFooter);
  for (auto add :
       {cli::add_run, cli::add_chat, cli::add_inspect, cli::add_tokenize, cli::add_plan,
        cli::add_score, cli::add_ppl, cli::add_bench, cli::add_simulate, cli::add_snapshot}) {
    add(app);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // help and version
    app.exit(success);
  } catch (const CLI::ParseError& error) {
    cli::print_error("", app.get_subcommands().empty() ? unknown_command(app) : error.what());
    std::cerr << "Try kvinfer --help, or kvinfer COMMAND --help.\n";
    return cli::ExitCode::usage;
  }
  return cli::ExitCode::ok;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  cli::Interrupt::install();
  cli::ExitCode code = cli::ExitCode::failure;
  try {
    code = run(argc, argv);
  } catch (const kvinfer::Error& error) {
    cli::print_error(error.status_name(), cli::message_of(error));
    code = cli::exit_code(error);
  } catch (const cli::Failure& failure) {
    cli::print_error("", failure.what());
    code = failure.code();
  } catch (const std::exception& error) {
    cli::print_error("", error.what());
  }
  return static_cast<int>(code);
}
