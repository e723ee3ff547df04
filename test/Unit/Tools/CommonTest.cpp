// Tests token lists, file reading and the NumPy writer that the tools share.
#include "common/cli.h"
#include "common/npy.h"

#include <cstring>
#include <gtest/gtest.h>

using namespace moray::tools;

// What the function prints on stderr.
template <typename F> static std::string errorsOf(F function) {
  testing::internal::CaptureStderr();
  function();
  return testing::internal::GetCapturedStderr();
}

TEST(TokenIds, Lists) {
  std::vector<int32_t> ids;
  EXPECT_TRUE(parseTokenIds("1,2,2147483647", ids));
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2, 2147483647}));
}

TEST(TokenIds, Refused) {
  for (const char *text :
       {"", ",", "1,", "1,,2", "x", "1 2", "-1", "2147483648", "99999999999999999999", "0x10", "1.5"}) {
    std::vector<int32_t> ids;
    std::string errors = errorsOf([&] { EXPECT_FALSE(parseTokenIds(text, ids)) << text; });
    EXPECT_NE(errors.find("error[E1004]"), std::string::npos) << text << ": " << errors;
  }
}

TEST(ReadFile, NamesWhatIsMissing) {
  std::string content;
  std::string errors = errorsOf([&] { EXPECT_FALSE(readFile("no/such/file", content)); });
  EXPECT_NE(errors.find("error[E1002]: cannot read 'no/such/file': No such file"), std::string::npos) << errors;
}

TEST(Npy, HeaderAndData) {
  std::string path = testing::TempDir() + "moray-npy-test.npy";
  const float values[6] = {0, 1, 2, 3, 4, 5};
  ASSERT_TRUE(writeNpy(path, values, 2, 3));
  std::string content;
  ASSERT_TRUE(readFile(path, content));
  size_t header = 10 + static_cast<unsigned char>(content[8]) + 256u * static_cast<unsigned char>(content[9]);
  EXPECT_EQ(content.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(header % 64, 0u);
  EXPECT_NE(content.find("'shape': (2, 3)"), std::string::npos);
  ASSERT_EQ(content.size(), header + sizeof values);
  EXPECT_EQ(std::memcmp(content.data() + header, values, sizeof values), 0);
  std::remove(path.c_str());
}

TEST(Npy, ReportsAFolderThatIsNotThere) { EXPECT_FALSE(writeNpy("no/such/folder/x.npy", nullptr, 0, 1)); }
