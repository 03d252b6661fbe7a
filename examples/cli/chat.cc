// kvinfer chat: a conversation, one line of stdin a turn.
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "stream.h"

namespace cli {
namespace {

struct Chat {
  ModelArguments model;
  EngineArguments engine;
  SamplingArguments sampling;
  std::string system;

  void operator()() const {
    const kvinfer::Model opened = model.open();
    const auto running = kvinfer::Engine::create(opened,
                                                 engine.options(model, opened).max_sequences(1));
    kvinfer::Session session = running.session();
    std::vector<kvinfer::Message> messages;
    if (!system.empty()) messages.push_back({"system", system});

    const bool interactive = stdin_is_terminal();
    if (interactive) std::cerr << "Ctrl-C ends an answer, Ctrl-D the conversation.\n";
    for (std::string line;;) {
      if (interactive) std::cerr << "> " << std::flush;
      if (!std::getline(std::cin, line)) break;
      if (line.empty()) continue;
      messages.push_back({"user", line});
      try {
        messages.push_back({"assistant", answer(opened, session, messages)});
      } catch (const kvinfer::Error& error) {
        if (!interactive) throw;
        print_error(error.status_name(), message_of(error));  // the conversation goes on without it
        messages.pop_back();
      }
    }
    check_read(std::cin, "stdin");
    if (interactive) std::cerr << "\n";
    finish_output();
  }

  std::string answer(const kvinfer::Model& opened, kvinfer::Session& session,
                     const std::vector<kvinfer::Message>& messages) const {
    session.set_messages(messages);
    const TextOutput output = model.json ? TextOutput::kept : TextOutput::shown;
    Generated made = generate(opened, session, sampling.options, sampling.logprobs, output);
    finish(made, output);
    if (made.finish == kvinfer::Finish::cancelled && !stdin_is_terminal()) {
      throw Failure(ExitCode::interrupted, "interrupted");
    }
    return std::move(made.text);
  }
};

}  // namespace

void add_chat(CLI::App& app) {
  auto chat = std::make_shared<Chat>();
  CLI::App& command = *app.add_subcommand("chat", "Converse: each line of stdin is a turn");
  chat->model.add_to(command);
  chat->model.add_threads_to(command);
  command.add_option("--system", chat->system, "The system message");
  chat->sampling.add_to(command);
  chat->engine.add_to(command);
  command.callback([chat] { (*chat)(); });
}

}  // namespace cli
