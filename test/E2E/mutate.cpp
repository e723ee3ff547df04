// Loads thousands of damaged copies of a compiled artifact; each must end in an error or a usable plan, never in a
// crash.
//
// moray-mutate ARTIFACT SCRATCH [STRIDE]: flips every 32nd bit of preamble and metadata (the loader must notice each),
// then every STRIDE-th bit of the metadata with hashes repaired, so that the semantic checks see it. Meant to run under
// sanitizers. Without ARTIFACT the environment variable MORAY_TEST_ARTIFACT names it; exit status 77 (skipped) when
// there is none.
#define XXH_INLINE_ALL
#include "common/cli.h"
#include "common/runtime_handles.h"
#include "runtime/schema/kernel_abi.h"

#include <cstring>
#include <xxhash.h>

using namespace moray::tools;

namespace {

class Victim {
public:
  Victim(const std::string &artifact, const std::string &path)
      : bytes(artifact), path(path), file(std::fopen(path.c_str(), "wb")) {
    std::memcpy(&preamble, bytes.data(), sizeof preamble);
    write(0, bytes.data(), bytes.size());
  }
  ~Victim() {
    std::fclose(file);
    std::remove(path.c_str());
  }

  const moray_section &metadata() const { return preamble.sections[MORAY_SECTION_METADATA]; }

  // Flips one bit, loads, restores. True if the loader accepted the file.
  bool flip(uint64_t bit, bool repair) {
    char &byte = bytes[bit / 8];
    byte = static_cast<char>(byte ^ (1 << (bit % 8)));
    write(bit / 8, &byte, 1);
    if (repair)
      writePreamble(XXH3_64bits(bytes.data() + metadata().offset, metadata().size));
    bool accepted = load();
    byte = static_cast<char>(byte ^ (1 << (bit % 8)));
    write(bit / 8, &byte, 1);
    if (repair)
      write(0, bytes.data(), MORAY_PREAMBLE_BYTES);
    return accepted;
  }

private:
  void write(uint64_t offset, const char *data, size_t size) {
    std::fseek(file, static_cast<long>(offset), SEEK_SET);
    std::fwrite(data, 1, size, file);
    std::fflush(file);
  }

  void writePreamble(uint64_t metadataHash) {
    moray_preamble repaired = preamble;
    repaired.sections[MORAY_SECTION_METADATA].hash = metadataHash;
    repaired.checksum = XXH3_64bits(&repaired, offsetof(moray_preamble, checksum));
    write(0, reinterpret_cast<const char *>(&repaired), sizeof repaired);
  }

  // Loads and reads everything that the C API reads from metadata.
  bool load() {
    moray_model *loaded = nullptr;
    moray_status *status = moray_model_load(path.c_str(), nullptr, &loaded);
    bool accepted = status == nullptr;
    moray_status_free(status);
    Model model(loaded);
    if (!model)
      return accepted;
    moray_engine_options options;
    moray_engine_options_init(&options);
    options.context = 128;
    moray_memory_plan plan;
    moray_status_free(moray_model_query_memory(model.get(), &options, &plan));
    int32_t ids[64];
    size_t count = 0;
    moray_status_free(moray_model_tokenize(model.get(), "def f(x):\n  \xc3\xa9", 13, nullptr, ids, 64, &count));
    char text[256];
    moray_status_free(moray_model_detokenize(model.get(), ids, count < 64 ? count : 64, 0, text, sizeof text, &count));
    return accepted;
  }

  std::string bytes, path;
  std::FILE *file;
  moray_preamble preamble;
};

} // namespace

int main(int argc, char **argv) {
  const char *environment = std::getenv("MORAY_TEST_ARTIFACT");
  std::string source = argc > 1 ? argv[1] : environment ? environment : "", artifact;
  if (source.empty()) {
    std::puts("skipped: no artifact is named");
    return 77;
  }
  if (!readFile(source, artifact) || artifact.size() < MORAY_PREAMBLE_BYTES)
    return kExitUsage;
  Victim victim(artifact, argc > 2 ? argv[2] : source + ".mutated");
  const uint64_t stride = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 61;
  uint64_t end = (victim.metadata().offset + victim.metadata().size) * 8, flips = 0, unnoticed = 0, accepted = 0;
  for (uint64_t bit = 0; bit < end; bit += 32, ++flips)
    unnoticed += victim.flip(bit + flips % 8, /*repair=*/false);
  for (uint64_t bit = victim.metadata().offset * 8; bit < end && stride; bit += stride, ++flips)
    accepted += victim.flip(bit, /*repair=*/true);
  std::printf("%llu damaged artifacts, no crash; with repaired hashes %llu were harmless\n",
              static_cast<unsigned long long>(flips), static_cast<unsigned long long>(accepted));
  if (unnoticed)
    return fail("E4006", std::to_string(unnoticed) + " flipped bits went unnoticed", "", 1);
  return 0;
}
