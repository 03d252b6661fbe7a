// A chat that pauses: its KV pages move to host memory, others may use the device's, and it goes on later without
// computing its text anew.
//
//   pause_resume model.gguf
#include <chrono>
#include <cstdio>
#include <iostream>
#include <kvinfer/kvinfer.hpp>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: pause_resume model.gguf\n";
    return 2;
  }
  auto engine = kvinfer::Engine::open(argv[1],
                                      kvinfer::EngineOptions().host_cache_bytes(256ull << 20));
  auto session = engine.session(kvinfer::SessionOptions().tenant("reader"));
  std::string story = "Once upon a time there was a lighthouse.";
  for (int day = 1; day <= 40; ++day) {
    story += " On day " + std::to_string(day) + " the keeper counted the ships.";
  }
  session.append(story);
  for (const auto& chunk : session.generate(kvinfer::GenerateOptions::greedy(16)))
    std::cout << chunk.text() << std::flush;

  session.suspend(kvinfer::Tier::host);  // returns at once; the copy is made in the background
  const std::vector<int32_t> text = session.tokens();
  std::printf("\npaused with %zu tokens\n", text.size());
  // As if others had wanted the memory meanwhile. Pages that are still being copied stay until that is done.
  while (engine.tier_stats(kvinfer::Tier::device).mapped_bytes > 0) {
    if (engine.trim(UINT64_MAX) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const auto first_token = [](kvinfer::Session& of, const char* how) {
    auto stream = of.generate(kvinfer::GenerateOptions::greedy(1));
    while (stream.next()) continue;
    const kvi_usage usage = stream.usage();
    std::printf("%s: %u of %u tokens reused, %u of them from the host, first token after %.0f ms\n",
                how, usage.cached_tokens, usage.prompt_tokens, usage.host_tokens, usage.ttft_ms);
  };
  first_token(session,
              "resumed");  // Session::resume() before would bring the pages back ahead of it

  auto anew = engine.session(kvinfer::SessionOptions().caches(false));
  anew.append(text);
  first_token(anew, "computed anew");
  return 0;
} catch (const kvinfer::Error& error) {
  std::cerr << error.status_name() << ": " << error.what() << "\n";
  return 1;
}
