#include "base/file_system.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <set>

#include "sim/faulty_file_system.h"
#include "sim/memory_file_system.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string text_at(OpenFile& file, uint64_t offset, size_t num_bytes) {
  std::string text(num_bytes, '?');
  const int error = read_exact(file, offset, std::as_writable_bytes(std::span(text)));
  return error == 0 ? text : errno_text(error);
}

mode_t mode_of(const std::string& path) {
  struct stat found = {};
  return lstat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

// The same claims of the system's files, and of those in memory that other tests use in their place.
class FileSystemTest : public testing::TestWithParam<bool> {
 protected:
  FileSystemTest() {
    if (!GetParam()) memory_.make_folder(root_);
  }
  FileSystem& files() { return GetParam() ? *os_ : static_cast<FileSystem&>(memory_); }
  std::string path(const std::string& name) const { return root_ + "/" + name; }
  std::unique_ptr<OpenFile> make(const std::string& name, std::string_view content) {
    auto file = files().open(path(name), OpenMode::write);
    EXPECT_EQ(write_exact(*file.value, 0, bytes_of(content)), 0);
    return std::move(file.value);
  }

  TempFolder temp_;
  const std::string root_ = temp_.path();
  const std::shared_ptr<FileSystem> os_ = os_file_system();
  MemoryFileSystem memory_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, FileSystemTest, testing::Values(true, false),
                         [](const auto& kind) { return kind.param ? "Os" : "Memory"; });

TEST_P(FileSystemTest, WhatIsWrittenIsRead) {
  auto file = make("a", "0123456789");
  EXPECT_EQ(text_at(*file, 3, 4), "3456");
  ASSERT_EQ(write_exact(*file, 5000, bytes_of("far")), 0);
  EXPECT_EQ(text_at(*file, 4998, 5), std::string("\0\0far", 5));
  EXPECT_EQ(file->info().value.size_bytes, 5003u);
  std::vector<std::byte> three(3);
  EXPECT_EQ(read_exact(*file, 5001, three), ENODATA);
  EXPECT_EQ(file->read(5003, three).value, 0u);
  EXPECT_EQ(file->sync(), 0);
}

TEST_P(FileSystemTest, OpenModesKeepTheirPromises) {
  EXPECT_EQ(files().open(path("a"), OpenMode::read).error, ENOENT);
  EXPECT_TRUE(files().open(path("a"), OpenMode::create_new).ok());
  EXPECT_EQ(files().open(path("a"), OpenMode::create_new).error, EEXIST);
  EXPECT_TRUE(files().open(path("a"), OpenMode::write).ok());
  EXPECT_TRUE(files().open(path("a"), OpenMode::read).ok());
  EXPECT_EQ(files().open(path("no/such"), OpenMode::write).error, ENOENT);
  EXPECT_EQ(files().open(root_, OpenMode::write).error, EISDIR);
}

TEST_P(FileSystemTest, TruncatedAndPunchedBytesReadAsZero) {
  auto file = make("a", std::string(3 * 4096, 'x'));
  const int error = file->punch_hole(1000, 2 * 4096);
  if (error == EOPNOTSUPP) GTEST_SKIP() << "files have no holes here";
  ASSERT_EQ(error, 0);
  EXPECT_EQ(text_at(*file, 999, 2), std::string("x\0", 2));
  EXPECT_EQ(text_at(*file, 1000 + 2 * 4096 - 1, 2), std::string("\0x", 2));
  EXPECT_EQ(file->info().value.size_bytes, 3 * 4096u);
  EXPECT_LE(file->info().value.allocated_bytes, 2 * 4096u);
  ASSERT_EQ(file->truncate(999), 0);
  ASSERT_EQ(file->truncate(3 * 4096), 0);
  EXPECT_EQ(text_at(*file, 998, 2), std::string("x\0", 2));
  EXPECT_EQ(text_at(*file, 3 * 4096 - 1, 1), std::string(1, '\0'));
}

TEST_P(FileSystemTest, AllocatedSpaceIsTakenAtOnce) {
  auto file = make("a", "x");
  ASSERT_EQ(file->allocate(0, 1 << 20), 0);
  EXPECT_EQ(file->info().value.size_bytes, 1u << 20);
  EXPECT_GE(file->info().value.allocated_bytes, 1u << 20);
}

TEST_P(FileSystemTest, OneLocksAndOthersAreToldAtOnce) {
  auto first = make("lock", "");
  auto second = make("lock", "");
  EXPECT_TRUE(first->try_lock().value);
  EXPECT_TRUE(second->try_lock().ok());
  EXPECT_FALSE(second->try_lock().value);
  first.reset();
  EXPECT_TRUE(second->try_lock().value);
}

TEST_P(FileSystemTest, DeletedAndReplacedFilesHaveNoLinkAndStillServeTheirHolder) {
  auto deleted = make("a", "aaa");
  auto replaced = make("b", "bbb");
  auto kept = make("c", "ccc");
  EXPECT_EQ(deleted->info().value.num_links, 1u);
  EXPECT_EQ(files().unlink(path("a")), 0);
  EXPECT_EQ(files().rename(path("c"), path("b")), 0);
  EXPECT_EQ(deleted->info().value.num_links, 0u);
  EXPECT_EQ(replaced->info().value.num_links, 0u);
  EXPECT_EQ(kept->info().value.num_links, 1u);
  EXPECT_EQ(text_at(*deleted, 0, 3), "aaa");
  EXPECT_EQ(text_at(*replaced, 0, 3), "bbb");
  EXPECT_EQ(files().unlink(path("a")), ENOENT);
  EXPECT_EQ(files().rename(path("a"), path("x")), ENOENT);
}

TEST_P(FileSystemTest, FoldersAreMadeOnceAndList) {
  EXPECT_EQ(files().make_folder(path("f")), 0);
  EXPECT_EQ(files().make_folder(path("f")), EEXIST);
  EXPECT_EQ(files().info(path("f")).value.kind, FileKind::folder);
  EXPECT_EQ(files().info(path("none")).error, ENOENT);
  make("f/a", "1");
  make("f/b", "2");
  const auto names = files().list(path("f"));
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(std::set<std::string>(names.value.begin(), names.value.end()),
            (std::set<std::string>{"a", "b"}));
  EXPECT_EQ(files().list(path("none")).error, ENOENT);
  EXPECT_EQ(files().list(path("f/a")).error, ENOTDIR);
  EXPECT_GT(files().free_bytes(path("f")).value, 0u);
  EXPECT_EQ(files().free_bytes(path("none")).error, ENOENT);
}

TEST(OsFileSystemTest, FoldersAreSynced) {
  const TempFolder temp;
  const auto files = os_file_system();
  EXPECT_EQ(files->sync_folder(temp.path()), 0);
  EXPECT_EQ(files->sync_folder(temp.path("none")), ENOENT);
  EXPECT_EQ(files->sync_folder(temp.write("file", "x")), ENOTDIR);
}

TEST(OsFileSystemTest, OthersCannotReadWhatItMakes) {
  const TempFolder temp;
  const auto files = os_file_system();
  const mode_t before = umask(0);
  EXPECT_EQ(files->make_folder(temp.path("f")), 0);
  EXPECT_TRUE(files->open(temp.path("f/a"), OpenMode::write).ok());
  EXPECT_TRUE(files->open(temp.path("f/b"), OpenMode::create_new).ok());
  umask(before);
  EXPECT_EQ(mode_of(temp.path("f")), 0700u);
  EXPECT_EQ(mode_of(temp.path("f/a")), 0600u);
  EXPECT_EQ(mode_of(temp.path("f/b")), 0600u);
}

TEST(OsFileSystemTest, OnlyRegularFilesAreOpenedAndNothingBlocks) {
  const TempFolder temp;
  const auto files = os_file_system();
  temp.write("target", "x");
  std::filesystem::create_symlink(temp.path("target"), temp.path("link"));
  ASSERT_EQ(mkfifo(temp.path("fifo").c_str(), 0600), 0);
  for (OpenMode mode : {OpenMode::read, OpenMode::write}) {
    EXPECT_EQ(files->open(temp.path("link"), mode).error, ELOOP);
    EXPECT_EQ(files->open(temp.path("fifo"), mode).error, EINVAL);
    EXPECT_EQ(files->open("/dev/null", mode).error, EINVAL);
    EXPECT_EQ(files->open(temp.path(), mode).error, EISDIR);
  }
  const auto named = files->open(temp.path("link"), OpenMode::read_named);
  ASSERT_TRUE(named.ok());
  EXPECT_EQ(text_at(*named.value, 0, 1), "x");
  EXPECT_EQ(files->open(temp.path("fifo"), OpenMode::read_named).error, EINVAL);
  EXPECT_EQ(files->info(temp.path("link")).value.kind, FileKind::other);
  EXPECT_EQ(files->open(temp.path("target") + '\0' + "x", OpenMode::read).error, EINVAL);
}

TEST(OsFileSystemTest, ExtentsThatNoFileHasAreErrors) {
  const TempFolder temp;
  auto file = os_file_system()->open(temp.path("a"), OpenMode::write).value;
  std::vector<std::byte> byte(1);
  for (uint64_t offset : {uint64_t{1} << 63, ~uint64_t{0}}) {
    EXPECT_EQ(file->write(offset, byte).error, EFBIG);
    EXPECT_EQ(file->truncate(offset), EFBIG);
    EXPECT_EQ(file->allocate(offset, 1), EFBIG);
    EXPECT_EQ(file->read(offset, byte).error, EINVAL);
    EXPECT_EQ(file->punch_hole(offset, 1), EINVAL);
  }
}

TEST(OsFileSystemTest, LimitOfFileSizesIsAnErrorAndNoSignal) {
  const TempFolder temp;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit = {1000, 1000};
    auto file = os_file_system()->open(temp.path("a"), OpenMode::write).value;
    bool right = setrlimit(RLIMIT_FSIZE, &limit) == 0;
    right = right && write_exact(*file, 0, std::vector<std::byte>(1000)) == 0;
    right = right && write_exact(*file, 990, std::vector<std::byte>(20)) == EFBIG;
    right = right && file->truncate(2000) == EFBIG && file->allocate(0, 2000) == EFBIG;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(OsFileSystemTest, LockIsGivenBackThoughAForkedChildHoldsItToo) {
  const TempFolder temp;
  const auto files = os_file_system();
  auto held = files->open(temp.path("lock"), OpenMode::write).value;
  ASSERT_TRUE(held->try_lock().value);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    pause();
    _exit(0);
  }
  held.reset();
  EXPECT_TRUE(files->open(temp.path("lock"), OpenMode::write).value->try_lock().value);
  kill(child, SIGKILL);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

class FaultyFileSystemTest : public testing::Test {
 protected:
  FaultyFileSystemTest() { under_->make_folder("/f"); }
  std::unique_ptr<OpenFile> open() { return files_.open("/f/a", OpenMode::write).value; }

  const std::shared_ptr<MemoryFileSystem> under_ = std::make_shared<MemoryFileSystem>();
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  FaultyFileSystem files_{under_, 7, clock_};
};

TEST_F(FaultyFileSystemTest, NthCallFailsOnceOrForEver) {
  auto file = open();
  const auto x = bytes_of("x");
  files_.inject({.call = FileCall::write, .nth = 2, .error = ENOSPC});
  EXPECT_TRUE(file->write(0, x).ok());
  EXPECT_EQ(file->write(0, x).error, ENOSPC);
  EXPECT_TRUE(file->write(0, x).ok());
  files_.inject({.call = FileCall::write, .nth = 4, .for_ever = true});
  EXPECT_EQ(file->write(0, x).error, EIO);
  EXPECT_EQ(file->write(0, x).error, EIO);
  EXPECT_TRUE(file->info().ok());
  files_.reset();
  EXPECT_TRUE(file->write(0, x).ok());
  EXPECT_EQ(files_.num_calls(), 1);
  EXPECT_EQ(files_.num_faults(), 3);
}

TEST_F(FaultyFileSystemTest, TornWriteKeepsWholeSectorsAndEndsAll) {
  auto file = open();
  files_.inject({.kind = Fault::Kind::torn, .call = FileCall::write});
  EXPECT_FALSE(file->write(0, std::vector<std::byte>(8192, std::byte{1})).ok());
  EXPECT_EQ(file->info().error, EIO);
  EXPECT_EQ(files_.list("/f").error, EIO);
  EXPECT_EQ(under_->content("/f/a").size() % 512, 0u);
  EXPECT_LT(under_->content("/f/a").size(), 8192u);
  files_.reset();
  EXPECT_TRUE(open()->info().ok());
}

TEST_F(FaultyFileSystemTest, ShortCallsAreCompletedByTheExactOnes) {
  auto file = open();
  files_.inject({.kind = Fault::Kind::too_short, .for_ever = true});
  std::string text(1000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i);
  EXPECT_EQ(write_exact(*file, 10, bytes_of(text)), 0);
  EXPECT_EQ(text_at(*file, 10, text.size()), text);
  EXPECT_GT(files_.num_calls(FileCall::write), 1);
  EXPECT_GT(files_.num_calls(FileCall::read), 1);
}

TEST_F(FaultyFileSystemTest, FlippedBitDelayAndVanishedFolder) {
  auto file = open();
  ASSERT_EQ(write_exact(*file, 0, std::vector<std::byte>(100)), 0);
  files_.inject({.kind = Fault::Kind::bit_flip, .call = FileCall::read});
  EXPECT_NE(text_at(*file, 0, 100), std::string(100, '\0'));
  EXPECT_EQ(text_at(*file, 0, 100), std::string(100, '\0'));
  files_.inject({.kind = Fault::Kind::delay, .call = FileCall::sync, .delay_us = 5});
  EXPECT_EQ(file->sync(), 0);
  EXPECT_EQ(clock_->now_us(), 5);
  files_.inject({.kind = Fault::Kind::vanish, .call = FileCall::sync, .nth = 2});
  EXPECT_EQ(file->sync(), 0);
  EXPECT_EQ(file->info().value.num_links, 0u);
  EXPECT_EQ(files_.open("/f/a", OpenMode::write).error, ENOENT);
  EXPECT_EQ(text_at(*file, 0, 1), std::string(1, '\0'));
}

}  // namespace
}  // namespace kvi
