#include "base/replacement_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "sim/faulty_file_system.h"
#include "sim/memory_file_system.h"
#include "support/expect_error.h"
#include "support/seed.h"
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

TEST(ReplacementFileTest, ANameMayBeAsLongAsTheSystemAllows) {
  const TempFolder folder;
  const std::string name(255, 'x');
  ReplacementFile file(folder.path(name));
  file.write(bytes_of("new"));
  EXPECT_EQ(names_in(folder)[0].size(), 255u);
  file.commit();
  EXPECT_EQ(names_in(folder), Names{name});
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
  const rlimit small = {5000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    ReplacementFile file(path);
    const std::string piece(3000, 'x');
    file.write(bytes_of(piece));
    EXPECT_ERROR(file.write(bytes_of(piece)), IO,
                 "cannot write 3000 bytes to '" + path + "' after 3000: ");
  }
  setrlimit(RLIMIT_FSIZE, &before);
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

TEST(ReplacementFileTest, ASymbolicLinkIsRefused) {
  const TempFolder folder;
  folder.write("target", "old");
  std::filesystem::create_symlink(folder.path("target"), folder.path("link"));
  EXPECT_ERROR(ReplacementFile(folder.path("link")), INVALID_ARGUMENT, "not a regular file");
}

// Each call of writing and committing fails in turn, once and for ever: the path holds the old content or the new
// one, and where the file system answers again, nothing else is left.
TEST(ReplacementFileTest, EveryCallFailsInTurnOnceAndForEver) {
  const std::string before = "old", after(5000, 'n');
  const auto memory = std::make_shared<MemoryFileSystem>();
  const auto files = std::make_shared<FaultyFileSystem>(memory, test_seed());
  memory->make_folder("/f");
  const auto replace = [&] {
    ReplacementFile file("/f/file", files);
    file.write(bytes_of(after).first(3000));
    file.write(bytes_of(after).subspan(3000));
    file.commit();
  };
  replace();
  const int64_t num_calls = files->num_calls();
  EXPECT_GE(num_calls, 7);
  const auto content = [&] {
    const std::vector<std::byte> bytes = memory->content("/f/file");
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  for (const Fault::Kind kind : {Fault::Kind::error, Fault::Kind::too_short, Fault::Kind::torn}) {
    for (const bool for_ever : {false, true}) {
      for (int64_t nth = 1; nth <= num_calls; ++nth) {
        memory->set_content("/f/file", bytes_of(before));
        files->reset();
        files->inject({.kind = kind, .nth = nth, .for_ever = for_ever, .error = ENOSPC});
        bool failed = false;
        try {
          replace();
        } catch (const Error& error) {
          failed = true;
          EXPECT_EQ(error.status(), Status::IO) << error.message();
          EXPECT_NE(error.message().find("/f/file"), std::string::npos) << error.message();
        }
        EXPECT_EQ(content(), failed ? before : after) << nth;
        for (const std::string& name : memory->list("/f").value) {
          if (name == "file") continue;
          EXPECT_TRUE(for_ever || files->has_crashed()) << name << " is left after call " << nth;
          memory->unlink("/f/" + name);
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvi
