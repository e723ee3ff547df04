// Hostile artifacts: whatever is cut, flipped or rewritten, loading ends in an error or a model that can be planned,
// never in a crash.
#include "runtime_test.h"
#include <cstring>
#include <random>

using namespace moray::test;

namespace {

// Loads and, if that works, asks for everything that reads the metadata. Code is not executed: who can write code with
// fitting hashes needs no further mistake of ours.
bool exercise(const TempFile &file, const std::vector<uint8_t> &bytes) {
  file.write(bytes);
  moray_model *model = nullptr;
  moray_status *status = moray_model_load(file.path(), nullptr, &model);
  if (status) {
    EXPECT_GE(moray_status_code(status), 4000);
    EXPECT_LT(moray_status_code(status), 5000) << moray_status_message(status);
    moray_status_free(status);
    return false;
  }
  moray_model_config config;
  moray_model_query_config(model, &config);
  moray_kernel_info kernel;
  moray_target_info target;
  for (size_t t = 0; t < moray_model_target_count(model); ++t) {
    moray_status_free(moray_model_query_target(model, t, &target));
    for (size_t i = 0; i < target.kernel_count; ++i)
      moray_status_free(moray_model_query_kernel(model, t, i, &kernel));
  }
  moray_weight_info weight;
  for (size_t i = 0; i < moray_model_weight_count(model); ++i)
    moray_status_free(moray_model_query_weight(model, i, &weight));
  moray_status_free(moray_model_verify_weights(model));
  moray_group_options groupOptions;
  moray_group_options_init(&groupOptions);
  groupOptions.force_dist = 1;
  moray_group *group = nullptr;
  EXPECT_OK(moray_group_create(&groupOptions, &group));
  for (const char *device : {"cpu", "cuda", "cpu in a group"}) {
    moray_engine_options options = engineOptions();
    options.context = 0;
    options.group = strlen(device) > 4 ? group : nullptr;
    options.device = options.group ? "cpu" : device;
    options.cuda_library = MORAY_FAKE_CUDA;
    moray_memory_plan plan = {};
    moray_status *refused = moray_model_query_memory(model, &options, &plan);
    moray_engine *engine = nullptr;
    // Binding resolves every operand; an engine that runs nothing executes no code of the file.
    if (!refused && plan.total < (64u << 20))
      moray_status_free(moray_engine_create(model, &options, &engine));
    moray_status_free(refused);
    moray_engine_destroy(engine);
  }
  moray_group_destroy(group);
  moray_model_unload(model);
  return true;
}

moray_preamble preambleOf(const std::vector<uint8_t> &file) {
  moray_preamble preamble;
  memcpy(&preamble, file.data(), sizeof(preamble));
  return preamble;
}

} // namespace

TEST(Mutation, EveryTruncation) {
  const std::vector<uint8_t> good = ToyArtifact().serialize();
  const TempFile file(good);
  for (size_t size = 0; size < good.size(); size += size < 4200 ? 61 : 509)
    EXPECT_FALSE(exercise(file, {good.begin(), good.begin() + static_cast<long>(size)})) << size;
}

TEST(Mutation, EveryThirtySecondBitIsNoticed) {
  const std::vector<uint8_t> good = ToyArtifact().serialize();
  const TempFile file(good);
  const moray_section metadata = preambleOf(good).sections[MORAY_SECTION_METADATA];
  for (size_t bit = 0; bit < (metadata.offset + metadata.size) * 8; bit += 32) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << (bit / 32 % 8));
    EXPECT_FALSE(exercise(file, bad)) << bit;
  }
}

TEST(Mutation, RepairedBitFlips) {
  const std::vector<uint8_t> good = ToyArtifact().serialize();
  const TempFile file(good);
  const moray_section metadata = preambleOf(good).sections[MORAY_SECTION_METADATA];
  size_t loaded = 0;
  for (size_t bit = 0; bit < metadata.size * 8; bit += 13) {
    std::vector<uint8_t> bad = good;
    bad[metadata.offset + bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    repairHashes(bad);
    loaded += exercise(file, bad);
  }
  EXPECT_GT(loaded, 0u);
}

TEST(Mutation, RepairedWords) {
  ToyArtifact toy;
  toy.addCudaTarget();
  toy.addCubin(1, 80);
  toy.addExperts(); // to the target of the CPU
  const std::vector<uint8_t> good = toy.serialize();
  const TempFile file(good);
  const moray_section metadata = preambleOf(good).sections[MORAY_SECTION_METADATA];
  std::mt19937 random(20);
  const uint32_t interesting[] = {0,          1,  2,    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                  0xFFFFFFFC, 64, 4096, 1u << 20,   1u << 31};
  for (size_t at = 0; at + 4 <= metadata.size; at += 4) {
    std::vector<uint8_t> bad = good;
    uint32_t value = interesting[random() % std::size(interesting)];
    if (random() % 4 == 0)
      value = static_cast<uint32_t>(random());
    memcpy(bad.data() + metadata.offset + at, &value, sizeof(value));
    repairHashes(bad);
    exercise(file, bad);
  }
}

TEST(Mutation, RepairedPreambles) {
  const std::vector<uint8_t> good = ToyArtifact().serialize();
  const TempFile file(good);
  for (size_t bit = 64; bit < (8 + 8 + 8 + 3 * 24) * 8; ++bit) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    repairHashes(bad);
    exercise(file, bad);
  }
}
