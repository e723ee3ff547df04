// A file that appears whole or not at all: contents, clean-up without commit, errors E3411 and E3412.
#include "codegen/Package/AtomicFile.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

using moray::codegen::AtomicFile;
namespace fs = std::filesystem;

namespace {
class AtomicFileTest : public testing::Test {
protected:
  fs::path folder = fs::path(testing::TempDir()) / ("moray-atomic-" + std::to_string(::getpid()));
  std::string path = (folder / "m.moray").string();
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }
  size_t entries() const { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }
};

std::string text(llvm::Error error) { return llvm::toString(std::move(error)); }
} // namespace

TEST_F(AtomicFileTest, CommitRenames) {
  {
    AtomicFile file = llvm::cantFail(AtomicFile::create(path, 16));
    ASSERT_EQ("", text(file.writeAt(3, {'a', 'b'})));
    EXPECT_FALSE(fs::exists(path));
    ASSERT_EQ("", text(file.commit(8)));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_EQ(std::string("\0\0\0ab\0\0\0", 8), bytes);
  EXPECT_EQ(1u, entries());
}

TEST_F(AtomicFileTest, WithoutCommitNothingIsLeft) {
  {
    AtomicFile file = llvm::cantFail(AtomicFile::create(path, 16));
    ASSERT_EQ("", text(file.writeAt(0, {'a'})));
  }
  EXPECT_EQ(0u, entries());
}

TEST_F(AtomicFileTest, KeepsTheOldFileUntilCommit) {
  std::ofstream(path) << "old";
  {
    AtomicFile file = llvm::cantFail(AtomicFile::create(path, 16));
  }
  EXPECT_EQ(3u, fs::file_size(path));
}

TEST_F(AtomicFileTest, ErrorE3411WithoutDirectory) {
  std::string message = text(AtomicFile::create((folder / "none" / "m.moray").string(), 16).takeError());
  EXPECT_EQ(0u, message.find("E3411")) << message;
}

TEST_F(AtomicFileTest, ErrorE3412WithoutSpace) {
  std::string message = text(AtomicFile::create(path, uint64_t(1) << 60).takeError());
  EXPECT_EQ(0u, message.find("E3412")) << message;
  EXPECT_NE(std::string::npos, message.find("MiB free")) << message;
  EXPECT_EQ(0u, entries());
}

TEST_F(AtomicFileTest, ErrorE3411WhenTheTargetCannotBeReplaced) {
  std::string message = text(AtomicFile::check(folder.string()));
  EXPECT_EQ(0u, message.find("E3411")) << message;
  EXPECT_NE(std::string::npos, message.find("is a directory")) << message;
  // Through a link: should the check fail, the link is replaced and not the device, which the machine needs.
  fs::create_symlink("/dev/null", path);
  message = text(AtomicFile::create(path, 16).takeError());
  EXPECT_EQ(0u, message.find("E3411")) << message;
  EXPECT_NE(std::string::npos, message.find("is a device")) << message;
  EXPECT_EQ(1u, entries());
}

TEST_F(AtomicFileTest, IgnoredSignalsStayIgnored) {
  auto before = std::signal(SIGHUP, SIG_IGN); // as nohup does
  AtomicFile file = llvm::cantFail(AtomicFile::create(path, 16));
  ::raise(SIGHUP);
  EXPECT_EQ("", text(file.commit(1)));
  std::signal(SIGHUP, before);
}

TEST_F(AtomicFileTest, ErrorE3413WhenTheTargetBecomesADirectory) {
  AtomicFile file = llvm::cantFail(AtomicFile::create(path, 16));
  fs::create_directories(fs::path(path) / "inside");
  std::string message = text(file.commit(1));
  EXPECT_EQ(0u, message.find("E3413")) << message;
}
