// Index rules I1-I5, the choice between index and single file, fingerprints and generation defaults.
#include "frontend/Checkpoint.h"

#include "test/Unit/Frontend/TestFiles.h"

using namespace moray::frontend;
using moray::test::safetensors;

namespace {

const char *const kOneByte = R"({"%":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";

std::string oneTensor(const std::string &name, char value) {
  std::string header = kOneByte;
  return safetensors(header.replace(header.find('%'), 1, name), std::string(1, value));
}

class CheckpointTest : public testing::Test {
protected:
  CheckpointTest() { dir.write("config.json", "{}"); }

  void writeIndex(const std::string &map, const std::string &metadata = "{}") {
    dir.write("model.safetensors.index.json", R"({"metadata":)" + metadata + R"(,"weight_map":)" + map + "}");
  }
  Expected<Checkpoint> open() { return Checkpoint::open(dir.path, warnings); }
  void rejects(int code, const std::string &text) {
    Expected<Checkpoint> checkpoint = open();
    ASSERT_FALSE(checkpoint) << "accepted";
    EXPECT_EQ(checkpoint.error().code(), code) << checkpoint.error().text();
    EXPECT_NE(checkpoint.error().message().find(text), std::string::npos) << checkpoint.error().text();
  }

  moray::test::TempDir dir;
  Warnings warnings;
};

TEST_F(CheckpointTest, SingleFile) {
  dir.write("model.safetensors", oneTensor("a", 'x'));
  Expected<Checkpoint> checkpoint = open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().text();
  ASSERT_NE(checkpoint->find("a"), nullptr);
  char value = 0;
  ASSERT_TRUE(checkpoint->read(*checkpoint->find("a"), 0, &value, 1));
  EXPECT_EQ(value, 'x');
  EXPECT_EQ(checkpoint->find("b"), nullptr);
}

TEST_F(CheckpointTest, ConfigAlone) {
  Expected<Checkpoint> directory = open(), file = Checkpoint::open(dir.path + "/config.json", warnings);
  ASSERT_TRUE(directory);
  ASSERT_TRUE(file);
  EXPECT_FALSE(directory->hasWeights());
  EXPECT_FALSE(file->hasWeights());
  EXPECT_EQ(directory->fingerprint(), file->fingerprint());
}

TEST_F(CheckpointTest, NoConfig) {
  std::filesystem::remove(dir.path + "/config.json");
  rejects(2030, "config.json");
}

TEST_F(CheckpointTest, OnlyPickleFiles) {
  dir.write("pytorch_model-00001-of-00002.bin", "x");
  rejects(2041, "pytorch_model-00001-of-00002.bin");
}

TEST_F(CheckpointTest, ConfigIsLfsPointer) {
  dir.write("config.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  rejects(2031, "config.json");
}

TEST_F(CheckpointTest, I1BadFileNames) {
  dir.write("a.safetensors", oneTensor("t", 'x'));
  for (const char *name : {"../a.safetensors", "/a.safetensors", "x/a.safetensors", "a.bin", "..safetensors",
                           "a\\\\b.safetensors", "a\\u0000.safetensors"}) {
    writeIndex(std::string(R"({"t":")") + name + "\"}");
    rejects(2021, "rule I1");
  }
  writeIndex(R"({"t":"missing.safetensors"})");
  rejects(2021, "does not exist");
  writeIndex(R"({"t":3})");
  rejects(2037, "t");
}

TEST_F(CheckpointTest, I2TensorNotInFile) {
  dir.write("a.safetensors", oneTensor("t", 'x'));
  writeIndex(R"({"t":"a.safetensors","u":"a.safetensors"})");
  rejects(2022, "'u'");
}

TEST_F(CheckpointTest, I3TensorNotInIndexIsIgnored) {
  dir.write("a.safetensors", safetensors(
                                 R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
          "u":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                 "xy"));
  writeIndex(R"({"t":"a.safetensors"})");
  Expected<Checkpoint> checkpoint = open();
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->find("u"), nullptr);
  ASSERT_EQ(warnings.all().size(), 1u);
  EXPECT_NE(warnings.all()[0].first.find("I3"), std::string::npos);
}

TEST_F(CheckpointTest, I4IndexDecidesBetweenShards) {
  dir.write("a.safetensors", oneTensor("t", 'a'));
  dir.write("b.safetensors", safetensors(
                                 R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
          "u":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                 "bu"));
  writeIndex(R"({"t":"a.safetensors","u":"b.safetensors"})");
  Expected<Checkpoint> checkpoint = open();
  ASSERT_TRUE(checkpoint);
  char value = 0;
  ASSERT_TRUE(checkpoint->read(*checkpoint->find("t"), 0, &value, 1));
  EXPECT_EQ(value, 'a');
  ASSERT_EQ(warnings.all().size(), 1u);
  EXPECT_NE(warnings.all()[0].first.find("I4"), std::string::npos);
}

TEST_F(CheckpointTest, I5TotalSizeIsOnlyAWarning) {
  dir.write("a.safetensors", oneTensor("t", 'a'));
  writeIndex(R"({"t":"a.safetensors"})", R"({"total_size":0})");
  ASSERT_TRUE(open());
  ASSERT_EQ(warnings.all().size(), 1u);
  EXPECT_NE(warnings.all()[0].first.find("I5"), std::string::npos);
}

TEST_F(CheckpointTest, IndexWinsOverSingleFile) {
  dir.write("model.safetensors", oneTensor("t", 'm'));
  dir.write("a.safetensors", oneTensor("t", 'a'));
  writeIndex(R"({"t":"a.safetensors"})");
  Expected<Checkpoint> checkpoint = open();
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->file(*checkpoint->find("t")).path(), dir.path + "/a.safetensors");
}

TEST_F(CheckpointTest, FingerprintFollowsHeadersNotData) {
  dir.write("model.safetensors", oneTensor("t", 'm'));
  uint64_t first = open()->fingerprint(), firstFull = *open()->fullFingerprint();
  dir.write("model.safetensors", oneTensor("t", 'n'));
  EXPECT_EQ(open()->fingerprint(), first);
  EXPECT_NE(*open()->fullFingerprint(), firstFull);
  dir.write("model.safetensors", oneTensor("u", 'm'));
  EXPECT_NE(open()->fingerprint(), first);
}

TEST_F(CheckpointTest, GenerationDefaults) {
  Expected<GenerationConfig> none = readGenerationConfig(*open(), warnings);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->greedy);
  EXPECT_TRUE(none->eos.empty());
  EXPECT_FALSE(none->bos);
  EXPECT_EQ(none->topK, 0);
  EXPECT_EQ(none->temperature, 1.0);

  dir.write("config.json", R"({"bos_token_id": 5, "eos_token_id": 6})");
  dir.write("generation_config.json",
            R"({"eos_token_id": [6, 7], "do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 40})");
  Expected<GenerationConfig> both = readGenerationConfig(*open(), warnings);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->bos, 5);
  EXPECT_EQ(both->eos, (std::vector<int64_t>{6, 7}));
  EXPECT_FALSE(both->greedy);
  EXPECT_EQ(both->temperature, 0.6);
  EXPECT_EQ(both->topP, 0.95);
  EXPECT_EQ(both->topK, 40);
  EXPECT_TRUE(warnings.all().empty()); // more ends than config.json knows are usual

  dir.write("generation_config.json", R"({"eos_token_id": 8})");
  ASSERT_TRUE(readGenerationConfig(*open(), warnings));
  EXPECT_EQ(warnings.all().size(), 1u);
}

TEST_F(CheckpointTest, GenerationConfigErrors) {
  for (const char *text :
       {R"({"eos_token_id": "a"})", R"({"eos_token_id": [-1]})", R"({"temperature": -1})", R"({"top_p": 2})"}) {
    dir.write("generation_config.json", text);
    Expected<GenerationConfig> generation = readGenerationConfig(*open(), warnings);
    ASSERT_FALSE(generation) << text;
    EXPECT_EQ(generation.error().code(), 2042) << generation.error().text();
  }
}

} // namespace
