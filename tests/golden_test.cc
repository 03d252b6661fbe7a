// The reader of the goldens, and that the committed goldens are what the tests assume them to be.
#include "support/golden.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

const std::string kData = KVINFER_TEST_DATA;

TEST(GoldenTest, ForwardGoldensCoverTheAgreedPrompts) {
  const ForwardGoldens smollm2 = read_forward_goldens(kData + "/goldens/smollm2.forward.bin");
  const ForwardGoldens gemma3 = read_forward_goldens(kData + "/goldens/gemma3.forward.bin");
  EXPECT_EQ(smollm2.prompts.size(), 32u);
  EXPECT_EQ(smollm2.vocab_size, 49152);
  EXPECT_EQ(gemma3.prompts.size(), 16u);
  EXPECT_EQ(gemma3.vocab_size, 262144);
  size_t longest = 0;
  for (const ForwardGolden& golden : gemma3.prompts) {
    longest = std::max(longest, golden.prompt.size());
    EXPECT_EQ(golden.continuation.size(), 64u);
    EXPECT_EQ(golden.distributions.at(0).ids.size(), 64u);
    EXPECT_EQ(golden.prompt[0], 2) << "BOS";
  }
  EXPECT_GT(longest, 2u * 512) << "longer than two sliding windows";
}

TEST(GoldenTest, TheReferenceFollowsItsOwnContinuation) {
  for (const char* name : {"smollm2", "gemma3"}) {
    int num_positions = 0, num_followed = 0;
    for (const ForwardGolden& golden :
         read_forward_goldens(kData + "/goldens/" + name + ".forward.bin").prompts) {
      for (size_t i = 0; i < golden.continuation.size(); ++i) {
        ++num_positions;
        num_followed += golden.distributions[i].ids[0] == golden.continuation[i];
      }
    }
    EXPECT_GE(num_followed, num_positions * 0.999) << name;
  }
}

TEST(GoldenTest, EveryTinyGoldenIsWellFormed) {
  int num_read = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kData + "/models/tiny")) {
    if (!entry.path().string().ends_with("goldens.bin")) continue;
    const TinyGoldens goldens = read_tiny_goldens(entry.path());
    ASSERT_EQ(goldens.prompts.size(), 2u) << entry.path();
    EXPECT_EQ(goldens.prompts[1].positions.back() + 1u, goldens.prompts[1].prompt.size());
    ++num_read;
  }
  EXPECT_GE(num_read, 20);
}

TEST(GoldenTest, AFileCutOrExtendedAnywhereIsRefused) {
  const std::string whole = File::read_all(kData + "/models/tiny/llama/goldens.bin", 1 << 20);
  TempFolder folder;
  for (size_t size : {size_t{0}, size_t{7}, size_t{8}, size_t{13}, size_t{100}, whole.size() - 1}) {
    const std::string path = folder.write("cut.bin", whole.substr(0, size));
    EXPECT_ERROR(read_tiny_goldens(path), CORRUPT, "ends where") << size;
  }
  EXPECT_ERROR(read_tiny_goldens(folder.write("more.bin", whole + "x")), CORRUPT, "goes on");
  EXPECT_ERROR(read_forward_goldens(folder.write("tiny.bin", whole)), CORRUPT, "magic");
}

}  // namespace
}  // namespace kvi
