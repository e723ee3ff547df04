// Safetensors rules S1-S13, one test each, and the files that must be accepted.
#include "frontend/Safetensors.h"

#include "test/Unit/Frontend/TestFiles.h"

#include <cstring>

using namespace moray::frontend;
using moray::test::safetensors;

namespace {

class SafetensorsTest : public testing::Test {
protected:
  Expected<SafetensorsFile> open(std::string_view bytes) {
    return SafetensorsFile::open(dir.write("t.safetensors", bytes));
  }

  // Opening must fail with this code, and the message must name file, found and expected.
  void rejects(std::string_view bytes, int code, const std::string &found) {
    Expected<SafetensorsFile> file = open(bytes);
    ASSERT_FALSE(file) << "accepted";
    EXPECT_EQ(file.error().code(), code) << file.error().text();
    EXPECT_NE(file.error().message().find("t.safetensors"), std::string::npos) << file.error().text();
    EXPECT_NE(file.error().message().find(found), std::string::npos) << file.error().text();
    EXPECT_NE(file.error().message().find("expected"), std::string::npos) << file.error().text();
    if (code <= 2013)
      EXPECT_NE(file.error().message().find("rule S" + std::to_string(code - 2000)), std::string::npos);
  }

  moray::test::TempDir dir;
};

TEST_F(SafetensorsTest, S1FileTooSmall) {
  rejects("", 2001, "0 bytes");
  rejects(std::string_view("\x02\0\0\0\0\0\0", 7), 2001, "7 bytes");
}

TEST_F(SafetensorsTest, S2HeaderTooLarge) {
  rejects(safetensors("{}", "", uint64_t(1) << 40), 2002, "1099511627776");
  rejects(safetensors("{}", "", 100000001), 2002, "100000001");
  rejects(safetensors("{}", "", 100000000), 2003, "100000000"); // the length itself is allowed
}

TEST_F(SafetensorsTest, S3HeaderBeyondFile) { rejects(safetensors("{}", "", 3), 2003, "header of 3 bytes"); }

TEST_F(SafetensorsTest, S4HeaderIsNoUtf8) {
  rejects(safetensors("{\"a\xFF\": 1}", ""), 2004, "not valid UTF-8");
  rejects(safetensors("{\"\xC0\x80\": 1}", ""), 2004, "not valid UTF-8");     // overlong
  rejects(safetensors("{\"\xED\xA0\x80\": 1}", ""), 2004, "not valid UTF-8"); // surrogate
}

TEST_F(SafetensorsTest, S5HeaderIsNoObject) {
  rejects(safetensors("[]", ""), 2005, "array");
  rejects(safetensors("{\"a\":", ""), 2005, "byte");
  rejects(safetensors("{} {}", ""), 2005, "byte");
  rejects(safetensors(R"({"a":3})", ""), 2005, "number");
  rejects(safetensors(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "abcd"), 2005, "-1");
  rejects(safetensors(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "abcd"), 2005, "1.0");
  rejects(safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "abcd"), 2005, "data_offsets");
  rejects(safetensors(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "abcd"), 2005, "shape");
}

TEST_F(SafetensorsTest, S6DuplicateAndUnknownKeys) {
  rejects(safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                      "x"),
          2006, "a");
  rejects(safetensors(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"), 2006, "dtype");
  rejects(safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":[1]}})", "x"), 2006, "stride");
}

TEST_F(SafetensorsTest, S7MetadataIsNoString) {
  rejects(safetensors(R"({"__metadata__":{"a":1}})", ""), 2007, "number");
  rejects(safetensors(R"({"__metadata__":[]})", ""), 2007, "array");
}

TEST_F(SafetensorsTest, S8UnknownDType) {
  rejects(safetensors(R"({"a":{"dtype":"F9","shape":[1],"data_offsets":[0,1]}})", "x"), 2008, "F9");
  rejects(safetensors(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", "x"), 2008, "no dtype");
}

TEST_F(SafetensorsTest, S9OverlapHoleOrder) {
  const char *overlap =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})";
  rejects(safetensors(overlap, "abcdef"), 2009, "begin 2");
  const char *hole =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}})";
  rejects(safetensors(hole, "abcdefghijkl"), 2009, "begin 8");
  rejects(safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", "abcdefgh"), 2009, "begin 4");
  rejects(safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", "abcd"), 2009, "[4, 0]");
}

TEST_F(SafetensorsTest, S10Overflow) {
  rejects(safetensors(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,16],"data_offsets":[0,4]}})", "abcd"), 2010,
          "4294967296");
  rejects(safetensors(R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4]}})", "abcd"), 2010,
          "shape");
}

TEST_F(SafetensorsTest, S11HalfBytes) {
  rejects(safetensors(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "x"), 2011, "12 bits");
}

TEST_F(SafetensorsTest, S12SizeAgainstShape) {
  rejects(safetensors(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}})", "abcdefghijkl"), 2012,
          "12 bytes");
  rejects(safetensors(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,8]}})", "abcdefgh"), 2012, "8 bytes");
}

TEST_F(SafetensorsTest, S13DataLength) {
  const char *header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  rejects(safetensors(header, "abcde"), 2013, "5 bytes");
  rejects(safetensors(header, "abc"), 2013, "3 bytes");
  rejects(safetensors("{}", "x"), 2013, "1 bytes");
}

TEST_F(SafetensorsTest, LfsPointer) {
  rejects("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n", 2031, "large files not downloaded");
}

TEST_F(SafetensorsTest, MissingFile) {
  Expected<SafetensorsFile> file = SafetensorsFile::open(dir.path + "/none.safetensors");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), 2030);
}

TEST_F(SafetensorsTest, AcceptsEmptyObjects) {
  EXPECT_TRUE(open(safetensors("{}", "")));
  EXPECT_TRUE(open(safetensors("{}      ", "")));
  EXPECT_TRUE(open(safetensors(" {}", "")));
  Expected<SafetensorsFile> file = open(safetensors(R"({"__metadata__":{"format":"pt"}})", ""));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->tensors().empty());
}

TEST_F(SafetensorsTest, AcceptsZeroSizeAndScalars) {
  const char *header =
      R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"BF16","shape":[2,0],"data_offsets":[4,4]},
    "y":{"dtype":"I64","shape":[0],"data_offsets":[4,4]},"f":{"dtype":"F4","shape":[4],"data_offsets":[4,6]}})";
  Expected<SafetensorsFile> file = open(safetensors(header, "abcdef"));
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_EQ(file->find("s")->elements(), 1u);
  EXPECT_EQ(file->find("z")->elements(), 0u);
  EXPECT_EQ(file->find("f")->elements(), 4u);
  EXPECT_EQ(file->find("absent"), nullptr);
}

// The minimal file of the specification: a scale at an offset that is no multiple of 4.
TEST_F(SafetensorsTest, ReadsUnalignedTensors) {
  std::string header = R"({"a":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[0,6]},)"
                       R"("a_scale_inv":{"dtype":"F32","shape":[1,1],"data_offsets":[6,10]}})";
  header.resize(128, ' ');
  std::string bytes = safetensors(header, std::string_view("\x38\xB8\x7E\x01\x00\x80\x00\x00\x00\x3F", 10));
  ASSERT_EQ(bytes.size(), 146u);
  Expected<SafetensorsFile> file = open(bytes);
  ASSERT_TRUE(file) << file.error().text();
  const TensorInfo *codes = file->find("a"), *scale = file->find("a_scale_inv");
  EXPECT_EQ(codes->dtype, DType::F8E4M3);
  EXPECT_EQ(codes->shape, (std::vector<uint64_t>{2, 3}));
  float value = 0;
  ASSERT_TRUE(file->read(*scale, 0, &value, 4));
  EXPECT_EQ(value, 0.5f);
  Expected<const uint8_t *> mapped = file->map(*codes);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(std::memcmp(*mapped, "\x38\xB8\x7E\x01\x00\x80", 6), 0);
  EXPECT_FALSE(file->read(*codes, 4, &value, 4)); // beyond the tensor
  EXPECT_EQ(file->read(*codes, 4, &value, 4).error().code(), 2040);
}

// Every single-bit change of a header is read without a crash, and what is accepted stays inside the data.
TEST_F(SafetensorsTest, SurvivesBitFlips) {
  const std::string header = R"({"__metadata__":{"f":"pt"},"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string mutated = header;
    mutated[bit / 8] = static_cast<char>(mutated[bit / 8] ^ (1 << (bit % 8)));
    Expected<SafetensorsHeader> parsed = parseSafetensorsHeader("t.safetensors", mutated, /*dataBytes=*/8);
    for (const TensorInfo &tensor : parsed ? parsed->tensors : std::vector<TensorInfo>())
      EXPECT_LE(tensor.end, 8u) << mutated;
  }
}

TEST_F(SafetensorsTest, RefusesToMapAFileThatShrank) {
  std::string path =
      dir.write("t.safetensors", safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "abcd"));
  Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path, 20);
  EXPECT_FALSE(file->map(*file->find("a")));
}

} // namespace
