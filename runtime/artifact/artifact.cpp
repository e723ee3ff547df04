// Opens an artifact: preamble, section table, hashes, FlatBuffers verifier; the meaning of the metadata is left to
// checker.cpp.
#include "runtime/artifact/artifact.h"
#include "runtime/artifact/checker.h"
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::rt {

static_assert(sizeof(moray_preamble) == MORAY_PREAMBLE_BYTES, "the preamble is one page");

static unsigned long long number(uint64_t value) { return value; }

Status Artifact::load(const char *path, Artifact &artifact) {
  MORAY_TRY(artifact.mapped.open(path));
  MORAY_TRY(artifact.checkPreamble());
  MORAY_TRY(artifact.checkMetadata());
  return checkArtifact(artifact.metadata(), artifact.sections, artifact.weightSpan);
}

Status Artifact::checkPreamble() {
  const Bytes file = mapped.bytes();
  // A file cut inside the preamble still says what it is by its first bytes.
  const size_t magicSize = sizeof(moray_preamble::magic);
  if (file.size() < magicSize || memcmp(file.data(), MORAY_MAGIC, magicSize) != 0)
    return fail(kE4002,
                "the file does not start with the mark of a Moray artifact; give a file written by moray-compile");
  if (file.size() < sizeof(moray_preamble))
    return fail(kE4005, "the file has %zu bytes, fewer than its preamble of %zu; it was cut, copy it again",
                file.size(), sizeof(moray_preamble));
  moray_preamble preamble;
  memcpy(&preamble, file.data(), sizeof(preamble));
  const uint64_t checksum = XXH3_64bits(file.data(), offsetof(moray_preamble, checksum));
  // Every version keeps the place of the version and of the checksum, so a damaged file is not taken for another
  // version.
  if (checksum != preamble.checksum)
    return fail(kE4006, "the checksum of the preamble is %016llx, expected %016llx; the file is damaged, copy it again",
                number(checksum), number(preamble.checksum));
  if (preamble.format_version != MORAY_FORMAT_VERSION)
    return fail(kE4003, "the artifact has format version %u, this runtime reads version %u; %s",
                preamble.format_version, MORAY_FORMAT_VERSION,
                preamble.format_version < MORAY_FORMAT_VERSION ? "compile the model again" : "install a newer runtime");
  if (preamble.abi_id != MORAY_ABI_ID)
    return fail(kE4004, "the kernels follow interface %u, this runtime has interface %u; compile the model again",
                preamble.abi_id, MORAY_ABI_ID);
  if (preamble.file_size != file.size())
    return fail(kE4005, "the file has %zu bytes, expected %llu; it was cut or extended, copy it again", file.size(),
                number(preamble.file_size));
  return checkSections(preamble);
}

Status Artifact::checkSections(const moray_preamble &preamble) {
  static const char *const names[] = {"metadata", "code", "weights"};
  const Bytes file = mapped.bytes();
  uint64_t end = sizeof(moray_preamble);
  for (int i = 0; i < MORAY_SECTION_COUNT; ++i) {
    const moray_section &section = preamble.sections[i];
    if (section.offset % schema::kPageBytes != 0 || section.offset < end ||
        !inRange(section.offset, section.size, file.size()))
      return fail(kE4007,
                  "section '%s' has offset %llu and size %llu in a file of %zu bytes; sections are page aligned "
                  "and follow each other; compile the model again",
                  names[i], number(section.offset), number(section.size), file.size());
    end = section.offset + section.size;
    sections[i] = Bytes(file.data() + section.offset, section.size);
    if (i == MORAY_SECTION_WEIGHTS)
      continue;
    const uint64_t hash = XXH3_64bits(sections[i].data(), sections[i].size());
    if (hash != section.hash)
      return fail(kE4008, "the hash of section '%s' is %016llx, expected %016llx; the file is damaged, copy it again",
                  names[i], number(hash), number(section.hash));
  }
  codeStart = preamble.sections[MORAY_SECTION_CODE].offset;
  return {};
}

Status Artifact::checkMetadata() {
  const Bytes bytes = sections[MORAY_SECTION_METADATA];
  // The verifier only asserts this bound.
  if (bytes.size() < 16 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return fail(kE4009, "the metadata has %zu bytes, expected 16 to 2^31 - 1; compile the model again", bytes.size());
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), /*max_depth=*/16, /*max_tables=*/4000000);
  if (!schema::VerifyArtifactBuffer(verifier))
    return fail(kE4009, "the metadata is not a well-formed FlatBuffer of this schema; compile the model again");
  root = schema::GetArtifact(bytes.data());
  return {};
}

Status Artifact::verifyWeights() const {
  if (!root->weights_embedded())
    return {};
  const Bytes bytes = section(MORAY_SECTION_WEIGHTS);
  for (const schema::Weight *weight : *root->weights()) {
    for (uint32_t i = 0; i < weight->offsets()->size(); ++i) {
      const uint64_t offset = weight->offsets()->Get(i);
      if (offset == schema::kNoOffset)
        continue;
      const uint64_t hash = XXH3_64bits(bytes.data() + offset, weight->bytes());
      const moray_string name = text(weight->name());
      if (hash != weight->hashes()->Get(i))
        return fail(kE4020,
                    "weight '%.*s' number %u has hash %016llx, expected %016llx; the file is damaged, copy it again",
                    static_cast<int>(name.size), name.data, i, number(hash), number(weight->hashes()->Get(i)));
    }
  }
  return {};
}

moray_string Artifact::text(const schema::Name *name) const {
  if (!name || !root->names())
    return {"", 0};
  return {reinterpret_cast<const char *>(root->names()->data()) + name->offset(), name->length()};
}

const char *levelName(schema::CpuLevel level) {
  switch (level) {
  case schema::CpuLevel::X86_64_V3:
    return "x86-64-v3";
  case schema::CpuLevel::Avx512:
    return "avx512";
  case schema::CpuLevel::Amx:
    return "amx";
  }
  return "unknown";
}

} // namespace moray::rt
