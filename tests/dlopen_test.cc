// The library leaves the process: after dlclose it is gone from the maps, and memory is flat.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>
#include <malloc.h>

#include <fstream>
#include <sstream>
#include <string>

namespace {

constexpr int kRounds = 100;
constexpr int kWarmUpRounds = 20;
const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";

std::string maps() {
  std::ifstream file("/proc/self/maps");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

long resident_kib() {
  malloc_trim(0);
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6));
  }
  return 0;
}

#define FIND(name) \
  decltype(&name) name##_ = reinterpret_cast<decltype(&name)>(dlsym(library, #name))

void load_run_unload() {
  void* library = dlopen(KVINFER_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  FIND(kvi_engine_options_init);
  FIND(kvi_engine_open);
  FIND(kvi_generate_options_init);
  FIND(kvi_generate);
  FIND(kvi_engine_close);
  FIND(kvi_engine_release);
  FIND(kvi_model_open);
  FIND(kvi_error_release);

  kvi_error* error = nullptr;
  kvi_model* none = nullptr;
  EXPECT_EQ(kvi_model_open_("/none", 5, nullptr, &none, &error),
            KVI_NOT_FOUND);  // an exception was thrown
  kvi_error_release_(error);
  kvi_engine_options options;
  EXPECT_EQ(kvi_engine_options_init_(&options, sizeof options), KVI_OK);
  options.num_threads = 2;
  options.kv_budget_bytes = 8 << 20;
  kvi_engine* engines[2] = {};  // two in one process
  for (kvi_engine*& engine : engines) {
    ASSERT_EQ(kvi_engine_open_(kModelPath.data(), kModelPath.size(), &options, &engine, nullptr),
              KVI_OK);
  }
  for (kvi_engine* engine : engines) {
    kvi_generate_options generate;
    EXPECT_EQ(kvi_generate_options_init_(&generate, sizeof generate), KVI_OK);
    generate.max_tokens = 4;
    EXPECT_EQ(kvi_generate_(engine, "once", 4, &generate, nullptr, nullptr, nullptr, nullptr),
              KVI_OK);
  }
  for (kvi_engine* engine : engines) {
    EXPECT_EQ(kvi_engine_close_(engine, KVI_FOREVER, nullptr), KVI_OK);
    kvi_engine_release_(engine);
  }
  ASSERT_EQ(dlclose(library), 0);
}

TEST(DlopenTest, TheLibraryIsGoneAfterEachOfAHundredRoundsAndMemoryIsFlat) {
  ASSERT_EQ(maps().find("libkvinfer"), std::string::npos) << "the test must not link the library";
  long warm_kib = 0;
  for (int round = 0; round < kRounds; ++round) {
    load_run_unload();
    ASSERT_EQ(maps().find("libkvinfer"), std::string::npos) << "still mapped after round " << round;
    if (round + 1 == kWarmUpRounds) warm_kib = resident_kib();
  }
  EXPECT_LT(resident_kib(), warm_kib + 1024)
      << "KiB after " << kWarmUpRounds << " rounds: " << warm_kib;
}

}  // namespace
