// kvinfer run: text after one prompt.
#include <iostream>
#include <memory>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "stream.h"

namespace cli {
namespace {

struct Run {
  ModelArguments model;
  EngineArguments engine;
  SamplingArguments sampling;
  InputArguments input;
  bool chat = false;
  std::string system;
  std::string save_path, load_path;

  void operator()() const {
    const std::string prompt = input.read();
    const kvinfer::Model opened = model.open();
    const auto running = kvinfer::Engine::create(opened,
                                                 engine.options(model, opened).max_sequences(1));
    kvinfer::Session session = load_path.empty() ? running.session() : load(running);
    if (chat) {
      std::vector<kvinfer::Message> messages;
      if (!system.empty()) messages.push_back({"system", system});
      messages.push_back({"user", prompt});
      session.set_messages(messages);
    } else {
      session.append(prompt);
    }
    const TextOutput output = model.json ? TextOutput::kept : TextOutput::shown;
    const Generated made = generate(opened, session, sampling.options, sampling.logprobs, output);
    if (!save_path.empty() && !made.error) session.save(save_path);
    finish(made, output);
    if (made.finish == kvinfer::Finish::cancelled) {
      throw Failure(ExitCode::interrupted, "interrupted");
    }
  }

  kvinfer::Session load(const kvinfer::Engine& running) const {
    kvinfer::LoadedSession loaded = running.load_session(load_path);
    if (loaded.taken.reason != KVI_SNAPSHOT_COMPLETE) {
      print_warning("of " + load_path + " came " + std::to_string(loaded.taken.num_tokens) +
                    " tokens, " + std::to_string(loaded.taken.num_kv_tokens) +
                    " with K and V: " + loaded.taken.text);
    }
    return std::move(loaded.session);
  }
};

}  // namespace

void add_run(CLI::App& app) {
  auto run = std::make_shared<Run>();
  CLI::App& command = *app.add_subcommand("run", "Generate text after a prompt");
  run->model.add_to(command);
  run->model.add_threads_to(command);
  run->input.add_to(command);
  CLI::Option* chat = command.add_flag("--chat", run->chat,
                                       "The prompt is a user's message: apply the chat template");
  command.add_option("--system", run->system, "With --chat: the system message")->needs(chat);
  command.add_option("--load", run->load_path, "Go on with a session from this file")
      ->excludes(chat);
  command.add_option("--save", run->save_path, "Save the session into this file at the end");
  run->sampling.add_to(command);
  run->engine.add_to(command);
  command.callback([run] { (*run)(); });
}

}  // namespace cli
