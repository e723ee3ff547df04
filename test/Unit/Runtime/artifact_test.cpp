// The outer shell of an artifact: preamble, versions, sections, hashes; and what a model tells about itself.
#include "runtime/base/mapped_memory.h"
#include "runtime_test.h"
#include <cstring>

using namespace moray::test;
namespace schema = moray::schema;

namespace {

moray_preamble preambleOf(const std::vector<uint8_t> &file) {
  moray_preamble preamble;
  memcpy(&preamble, file.data(), sizeof(preamble));
  return preamble;
}

// Changes the preamble and makes its checksum fit.
template <typename Change> std::vector<uint8_t> withPreamble(Change change) {
  std::vector<uint8_t> file = ToyArtifact().serialize();
  moray_preamble preamble = preambleOf(file);
  change(preamble);
  memcpy(file.data(), &preamble, sizeof(preamble));
  repairHashes(file);
  return file;
}

} // namespace

TEST(Artifact, LoadsAndDescribesItself) {
  const ToyModel model;
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  EXPECT_EQ(std::string(config.family.data, config.family.size), "toy");
  EXPECT_EQ(config.vocab, uint32_t{TOY_VOCAB});
  EXPECT_EQ(config.layers, uint32_t{TOY_LAYERS});
  EXPECT_EQ(config.eos_count, 1u);
  EXPECT_EQ(config.can_score, 1);
  EXPECT_EQ(config.has_tokenizer, 0);
  ASSERT_EQ(moray_model_target_count(model.get()), 1u);
  moray_target_info target;
  EXPECT_OK(moray_model_query_target(model.get(), 0, &target));
  EXPECT_EQ(std::string(target.name.data, target.name.size), "cpu");
  EXPECT_EQ(std::string(target.device.data, target.device.size), "cpu");
  EXPECT_EQ(target.kernel_count, 7u);
  EXPECT_EQ(target.program_count, 4u);
  EXPECT_EQ(target.weight_bytes, 256u + 3 * 64u);
  moray_kernel_info kernel;
  EXPECT_OK(moray_model_query_kernel(model.get(), 0, 2, &kernel));
  EXPECT_EQ(std::string(kernel.name.data, kernel.name.size), "attend");
  EXPECT_EQ(std::string(kernel.klass.data, kernel.klass.size), "attention");
  EXPECT_EQ(kernel.launch_count, size_t{TOY_LAYERS});
  moray_variant_info variant;
  EXPECT_OK(moray_model_query_variant(model.get(), 0, 2, 1, &variant));
  EXPECT_EQ(std::string(variant.level.data, variant.level.size), "avx512");
  moray_program_info program;
  EXPECT_OK(moray_model_query_program(model.get(), 0, 0, &program));
  EXPECT_EQ(program.launch_count, size_t{3 + 2 * TOY_LAYERS});
  moray_weight_info weight;
  EXPECT_OK(moray_model_query_weight(model.get(), 1, &weight));
  EXPECT_EQ(weight.tensor_count, size_t{TOY_LAYERS});
  moray_provenance provenance;
  moray_model_query_provenance(model.get(), &provenance);
  moray_string flag;
  ASSERT_EQ(provenance.flag_count, 1u);
  EXPECT_OK(moray_model_query_flag(model.get(), 0, &flag));
  EXPECT_EQ(std::string(flag.data, flag.size), "--toy");
  EXPECT_FAILS(moray_model_query_flag(model.get(), 1, &flag), "E5002", "flag 1");
  EXPECT_FAILS(moray_model_query_kernel(model.get(), 0, 7, &kernel), "E5002", "kernel 7");
  EXPECT_FAILS(moray_model_query_kernel(model.get(), 1, 0, &kernel), "E5002", "target 1");
  moray_stage_info stage;
  EXPECT_FAILS(moray_model_query_stage(model.get(), 0, 2, 1, 0, &stage), "E5002", "stage 0");
}

TEST(Artifact, MissingFile) {
  EXPECT_FAILS(loadStatus("/no/such/file.moray"), "E4001", "cannot open");
  EXPECT_FAILS(loadStatus("/"), "E4001", "not a regular file");
}

TEST(Artifact, ForeignFile) {
  const std::string text = "#!/bin/sh\nexit 0\n";
  EXPECT_FAILS(loadStatus(std::vector<uint8_t>(text.begin(), text.end())), "E4002", "does not start with");
  EXPECT_FAILS(loadStatus(std::vector<uint8_t>()), "E4002", "does not start with");
}

TEST(Artifact, OtherFormatVersionsAreNamed) {
  const auto newer = withPreamble([](moray_preamble &p) { p.format_version = MORAY_FORMAT_VERSION + 3; });
  EXPECT_FAILS(loadStatus(newer), "E4003", "version 6, this runtime reads version 3; install a newer runtime");
  const auto older = withPreamble([](moray_preamble &p) { p.format_version = 0; });
  EXPECT_FAILS(loadStatus(older), "E4003", "version 0, this runtime reads version 3; compile the model again");
  EXPECT_EQ(moray_status_exit_code(nullptr), 0);
}

TEST(Artifact, OtherAbi) {
  EXPECT_FAILS(loadStatus(withPreamble([](moray_preamble &p) { p.abi_id = 99; })), "E4004", "interface 99");
}

TEST(Artifact, Truncated) {
  const std::vector<uint8_t> file = ToyArtifact().serialize();
  EXPECT_FAILS(loadStatus({file.begin(), file.begin() + 100}), "E4005", "fewer than its preamble");
  EXPECT_FAILS(loadStatus({file.begin(), file.end() - 1}), "E4005", "expected");
  std::vector<uint8_t> longer = file;
  longer.push_back(0);
  EXPECT_FAILS(loadStatus(longer), "E4005", "expected");
}

TEST(Artifact, DamagedPreamble) {
  std::vector<uint8_t> file = ToyArtifact().serialize();
  file[20] ^= 4;
  EXPECT_FAILS(loadStatus(file), "E4006", "checksum");
}

TEST(Artifact, SectionsOutsideTheFile) {
  for (int section = 0; section < MORAY_SECTION_COUNT; ++section) {
    EXPECT_FAILS(loadStatus(withPreamble([&](moray_preamble &p) { p.sections[section].offset += 64; })), "E4007",
                 "offset");
    EXPECT_FAILS(loadStatus(withPreamble([&](moray_preamble &p) { p.sections[section].size = ~0ull; })), "E4007",
                 "size");
    EXPECT_FAILS(loadStatus(withPreamble([&](moray_preamble &p) { p.sections[section].offset = 0; })), "E4007",
                 "offset");
  }
}

TEST(Artifact, DamagedSections) {
  const std::vector<uint8_t> good = ToyArtifact().serialize();
  for (int section : {MORAY_SECTION_METADATA, MORAY_SECTION_CODE}) {
    std::vector<uint8_t> file = good;
    file[preambleOf(good).sections[section].offset + 5] ^= 1;
    EXPECT_FAILS(loadStatus(file), "E4008", "hash");
  }
}

TEST(Artifact, MetadataIsNoFlatBuffer) {
  const ToyArtifact toy;
  EXPECT_FAILS(loadStatus(toy.serialize(std::vector<uint8_t>(8))), "E4009", "8 bytes");
  EXPECT_FAILS(loadStatus(toy.serialize(std::vector<uint8_t>(64, 0x7F))), "E4009", "FlatBuffer");
}

TEST(Artifact, DamagedWeightsAreFoundOnRequest) {
  std::vector<uint8_t> file = ToyArtifact().serialize();
  file[preambleOf(file).sections[MORAY_SECTION_WEIGHTS].offset + 300] ^= 1;
  const TempFile temp(file);
  EXPECT_OK(loadStatus(temp.path()));
  moray_model_options options;
  moray_model_options_init(&options);
  options.verify_weights = 1;
  moray_model *model = nullptr;
  EXPECT_FAILS(moray_model_load(temp.path(), &options, &model), "E4020", "layer_seed");
}

TEST(Artifact, CodeThatCannotBeMapped) {
  const TempFile temp(ToyArtifact().serialize());
  moray::rt::MappedFile file;
  ASSERT_TRUE(file.open(temp.path()).ok());
  moray::rt::Mapping code;
  const moray::rt::Status status = file.mapExecutable(1, 64, code); // not at a page
  EXPECT_NE(std::string(moray_status_message(status.get())).find("error[E5015]: cannot map"), std::string::npos);
}

TEST(Artifact, NullArgumentsAndForeignStructs) {
  moray_model *model = nullptr;
  EXPECT_FAILS(moray_model_load(nullptr, nullptr, &model), "E5002", "path");
  moray_model_options options = {};
  EXPECT_FAILS(moray_model_load("x", &options, &model), "E5002", "struct_size");
}

TEST(Artifact, TextNeedsATokenizer) {
  const ToyModel model;
  size_t count = 0;
  int32_t ids[4];
  EXPECT_FAILS(moray_model_tokenize(model.get(), "a", 1, nullptr, ids, 4, &count), "E5011", "no tokenizer");
  moray_decoder *decoder = nullptr;
  EXPECT_FAILS(moray_decoder_create(model.get(), 0, &decoder), "E5011", "no tokenizer");
}
