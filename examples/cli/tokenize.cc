// kvinfer tokenize: text to token ids.
#include <iostream>
#include <memory>
#include <string_view>

#include "arguments.h"
#include "commands.h"
#include "output.h"

namespace cli {
namespace {

struct Tokenize {
  ModelArguments model;
  InputArguments input;
  bool lines = false;
  bool special = false;

  void operator()() const {
    const kvinfer::Model opened = model.open_metadata();
    const std::string text = input.read();
    if (!lines) {
      print(opened, text);
    } else {
      size_t number = 1;
      for (std::string_view rest = text; !rest.empty(); ++number) {
        const size_t size = std::min(rest.find('\n'), rest.size());
        print_line(opened, rest.substr(0, size), number);
        rest.remove_prefix(std::min(size + 1, rest.size()));
      }
    }
    finish_output();
  }

  void print_line(const kvinfer::Model& opened, std::string_view line, size_t number) const {
    try {
      print(opened, line);
    } catch (const kvinfer::Error& error) {
      throw Failure(exit_code(error), std::string(error.status_name()) + ": line " +
                                          std::to_string(number) + ": " + message_of(error));
    }
  }

  void print(const kvinfer::Model& opened, std::string_view text) const {
    const auto tokens = opened.tokenize(text, kvinfer::AddBos::no,
                                        special ? kvinfer::Special::yes : kvinfer::Special::no);
    if (model.json) {
      std::cout << Json{{"tokens", tokens}} << "\n";
      return;
    }
    const char* separator = "";
    for (int32_t token : tokens) {
      std::cout << separator << token;
      separator = " ";
    }
    std::cout << "\n";
  }
};

}  // namespace

void add_tokenize(CLI::App& app) {
  auto tokenize = std::make_shared<Tokenize>();
  CLI::App& command = *app.add_subcommand("tokenize",
                                          "Turn text into token ids; no BOS token is added");
  tokenize->model.add_to(command);
  tokenize->input.add_to(command);
  command.add_flag("--lines", tokenize->lines, "Each line is a text of its own: one answer a line");
  command.add_flag("--special", tokenize->special, "Recognise special tokens in the text");
  command.callback([tokenize] { (*tokenize)(); });
}

}  // namespace cli
