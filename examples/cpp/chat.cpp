// A conversation of two turns, streamed.
//
//   chat model.gguf
#include <iostream>
#include <kvinfer/kvinfer.hpp>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: chat model.gguf\n";
    return 2;
  }
  auto engine = kvinfer::Engine::open(argv[1],
                                      kvinfer::EngineOptions().kv_budget_bytes(2ull << 30));
  auto session = engine.session();
  std::vector<kvinfer::Message> chat = {{"system", "Be brief."}, {"user", "Name a prime."}};
  for (int turn = 0; turn < 2; ++turn) {
    session.set_messages(chat);  // re-renders; keeps the longest common prefix
    auto stream = session.generate(
        kvinfer::GenerateOptions().max_tokens(64));  // its destructor cancels and keeps
    for (const auto& chunk : stream) std::cout << chunk.text() << std::flush;
    std::cout << "\n";
    chat.push_back({"assistant", stream.text()});
    chat.push_back({"user", "Another."});
  }
  return 0;
} catch (const kvinfer::Error& error) {
  std::cerr << error.status_name() << ": " << error.what() << "\n";
  return 1;
}
