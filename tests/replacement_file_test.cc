#include "base/replacement_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/running_checksum.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::vector<std::string> names_in(const TempFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

TEST(ReplacementFileTest, TheOldFileStaysUntilCommit) {
  const TempFolder folder;
  const std::string path = folder.write("file", "old");
  ReplacementFile file(path);
  file.write(bytes_of("new "));
  file.write(bytes_of("content"));
  EXPECT_EQ(File::read_all(path, 100), "old");
  EXPECT_EQ(file.num_bytes(), 11u);
  file.commit();
  EXPECT_EQ(File::read_all(path, 100), "new content");
  EXPECT_EQ(names_in(folder), Names{"file"});
}

TEST(ReplacementFileTest, WithoutCommitNothingIsLeftBehind) {
  const TempFolder folder;
  const std::string path = folder.write("file", "old");
  for (const char* name : {"file", "other"}) {
    ReplacementFile file(folder.path(name));
    file.write(bytes_of("new"));
    EXPECT_EQ(names_in(folder).size(), 2u);
  }
  EXPECT_EQ(names_in(folder), Names{"file"});
  EXPECT_EQ(File::read_all(path, 100), "old");
}

TEST(ReplacementFileTest, OnlyTheOwnerMayRead) {
  const TempFolder folder;
  ReplacementFile file(folder.path("file"));
  file.commit();
  struct stat info;
  ASSERT_EQ(stat(folder.path("file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

// A limit on the size of files stands for a full disk: both end in the middle of a write.
TEST(ReplacementFileTest, AFullDiskIsAnErrorThatNamesPathAndBytesAndLeavesTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.write("file", "old");
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {5000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    ReplacementFile file(path);
    const std::string piece(3000, 'x');
    file.write(bytes_of(piece));
    EXPECT_ERROR(file.write(bytes_of(piece)), IO,
                 "cannot write 1000 bytes to '" + path + "' after 5000: ");
  }
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(File::read_all(path, 100), "old");
  EXPECT_EQ(names_in(folder), Names{"file"});
}

TEST(ReplacementFileTest, PathsThatCannotBeReplacedAreRefused) {
  const TempFolder folder;
  EXPECT_ERROR(ReplacementFile("/dev/null"), INVALID_ARGUMENT, "'/dev/null' is not a regular file");
  EXPECT_ERROR(ReplacementFile(folder.path()), INVALID_ARGUMENT, "not a regular file");
  EXPECT_ERROR(ReplacementFile(folder.path("no/such/folder")), NOT_FOUND, "no/such/folder");
  EXPECT_ERROR(ReplacementFile(std::string("a\0b", 3)), INVALID_ARGUMENT, "NUL");
  EXPECT_ERROR(ReplacementFile(""), INVALID_ARGUMENT, "empty");
  EXPECT_EQ(names_in(folder), Names{});
}

TEST(ReplacementFileTest, ARenameThatFailsLeavesNothing) {
  const TempFolder folder;
  {
    ReplacementFile file(folder.path("file"));
    std::filesystem::create_directory(folder.path("file"));
    EXPECT_ERROR(file.commit(), IO, "cannot rename");
  }
  EXPECT_EQ(names_in(folder), Names{"file"});
}

TEST(RunningChecksumTest, IsXxh3AndDoesNotDependOnHowTheInputIsCut) {
  // The published values of XXH3_128bits of no bytes, with seeds 0 and 0x9e3779b185ebca8d.
  EXPECT_EQ(RunningChecksum().value(),
            (RunningChecksum::Value{0x6001c324468d497f, 0x99aa06d3014798d8}));
  EXPECT_EQ(RunningChecksum(0x9e3779b185ebca8d).value(),
            (RunningChecksum::Value{0xa986dfc5d7605bfe, 0x00feaa732a3ce25e}));
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * i);
  RunningChecksum whole(7);
  whole.update(bytes_of(text));
  for (size_t piece : {1, 7, 64, 240, 241, 1024}) {
    RunningChecksum cut(7);
    for (size_t i = 0; i < text.size(); i += piece) {
      cut.update(bytes_of(std::string_view(text).substr(i, piece)));
    }
    EXPECT_EQ(cut.value(), whole.value()) << piece;
  }
}

}  // namespace
}  // namespace kvi
