// The rules of the strict JSON reader: one test for each code.
#include "frontend/Json.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace moray::frontend;

namespace {

void expectError(int code, const std::string &text, const std::string &mention = "file.json") {
  Expected<nlohmann::json> value = parseJson(text, "file.json");
  ASSERT_FALSE(value) << text;
  EXPECT_EQ(value.error().code(), code) << value.error().message();
  EXPECT_NE(value.error().message().find(mention), std::string::npos) << value.error().message();
}

std::string nested(int depth) { return std::string(size_t(depth), '[') + std::string(size_t(depth), ']'); }

TEST(Json, acceptsWhatIsValid) {
  Expected<nlohmann::json> value =
      parseJson(R"( {"a": [1, -2, 9223372036854775807, 1.5e3, "\u0000\ud83d\ude00", true, null]} )", "f");
  ASSERT_TRUE(value) << value.error().text();
  const nlohmann::json &list = *findMember(*value, "a");
  EXPECT_EQ(list[2].get<int64_t>(), INT64_MAX);
  EXPECT_EQ(list[3].get<double>(), 1500.0);
  EXPECT_EQ(list[4].get<std::string>(), std::string("\0", 1) + "\U0001F600");
  EXPECT_TRUE(parseJson(nested(64), "f"));
}

TEST(Json, malformed) { // E2032
  for (const char *text : {"", "{", "[1,]", "{\"a\" 1}", "nul", "[1] 2", "\"\\ud800\"", "\"\xC3\"", "\"\xED\xA0\x80\"",
                           "[NaN]", "'a'", "[1] // comment", "01", "\"a\nb\"", "1e999"})
    expectError(2032, text);
  expectError(2032, "[1, x]", "byte 5");
}

TEST(Json, duplicateKey) { expectError(2033, R"({"a": [{"b": 1, "b": 2}]})", ".a[0].b: found the key \"b\" twice"); }

TEST(Json, depth) {
  expectError(2034, nested(65));
  expectError(2034, std::string(1 << 20, '['));
}

TEST(Json, byteOrderMark) { expectError(2035, "\xEF\xBB\xBF{}"); }

TEST(Json, integerRange) {
  for (const char *text : {"9223372036854775808", "18446744073709551616", "-9223372036854775809"})
    expectError(2036, text);
}

TEST(Json, typedMembers) { // E2037
  nlohmann::json object = *parseJson(R"({"s": "x", "i": 3, "d": 2.5, "b": true, "n": null})", "f");
  EXPECT_EQ(*stringMember(object, "s", "f"), "x");
  EXPECT_EQ(*stringMember(object, "n", "f", "y"), "y");
  EXPECT_EQ(*intMember(object, "i", "f"), 3);
  EXPECT_EQ(*intMember(object, "none", "f", 7), 7);
  EXPECT_EQ(*doubleMember(object, "i", "f", 0), 3.0);
  EXPECT_EQ(*boolMember(object, "b", "f", false), true);
  for (int code : {stringMember(object, "i", "f").error().code(), intMember(object, "d", "f").error().code(),
                   intMember(object, "none", "f").error().code(), boolMember(object, "i", "f", false).error().code(),
                   doubleMember(object, "s", "f", 0).error().code(), stringMember(object, "n", "f").error().code()})
    EXPECT_EQ(code, 2037);
  EXPECT_EQ(intMember(object, "s", "f").error().message(),
            "f.s: found a value of type string, expected an integer; correct the file");
  EXPECT_EQ(findMember(object["s"], "s"), nullptr);
}

TEST(Json, files) { // E2030 and E2031
  namespace fs = std::filesystem;
  fs::path path = fs::temp_directory_path() / ("moray-json-" + std::to_string(getpid()));
  EXPECT_EQ(readJsonFile(path.string()).error().code(), 2030);
  EXPECT_EQ(readTextFile("/").error().code(), 2030);
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
  EXPECT_EQ(readJsonFile(path.string()).error().code(), 2031);
  std::ofstream(path) << "[1, 2]";
  EXPECT_EQ(readTextFile(path.string(), 5).error().code(), 2030);
  EXPECT_EQ(readJsonFile(path.string())->size(), 2u);
  fs::remove(path);
}

} // namespace
