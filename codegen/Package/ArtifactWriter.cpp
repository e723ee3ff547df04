// Lays the sections out, streams the weights, writes the preamble last.
#include "codegen/Package/ArtifactWriter.h"

#include "artifact_constants.h"
#include "codegen/Package/AtomicFile.h"
#include "codegen/Package/WeightRows.h"
#include "kernel_abi.h"
#include "llvm/Support/MathExtras.h"
#include <map>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
/// Rows are read and written in pieces of about this size.
constexpr uint64_t kPieceBytes = 8 << 20;

std::vector<uint8_t> serialise(const schema::ArtifactT &artifact) {
  flatbuffers::FlatBufferBuilder builder(1 << 20);
  builder.Finish(schema::Artifact::Pack(builder, &artifact));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

class Writer {
public:
  Writer(AtomicFile &file, uint64_t base, const WriteProgress &progress, uint64_t total)
      : file(file), base(base), progress(progress), total(total) {}

  /// Streams one tensor to `offset` of the section; returns its hash.
  llvm::Expected<uint64_t> writeTensor(WeightRows &rows, lm::WeightOp weight, int64_t layer, uint64_t offset) {
    WeightShape shape(weight);
    uint64_t rowsAtOnce = std::max<uint64_t>(1, kPieceBytes / shape.pitch);
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint64_t first = 0; first < shape.rows; first += rowsAtOnce) {
      uint64_t count = std::min(rowsAtOnce, shape.rows - first);
      dense.resize(count * shape.rowBytes());
      if (llvm::Error error = rows.read(weight, layer, first, count, dense.data()))
        return std::move(error);
      padded.assign(count * shape.pitch, 0);
      for (uint64_t row = 0; row < count; ++row)
        std::memcpy(padded.data() + row * shape.pitch, dense.data() + row * shape.rowBytes(), shape.rowBytes());
      XXH3_64bits_update(&state, padded.data(), padded.size());
      if (llvm::Error error = file.writeAt(base + offset + first * shape.pitch, padded))
        return std::move(error);
      done += padded.size();
      progress(done, total);
    }
    return XXH3_64bits_digest(&state);
  }

private:
  AtomicFile &file;
  uint64_t base;
  const WriteProgress &progress;
  uint64_t total, done = 0;
  std::vector<uint8_t> dense, padded;
};

llvm::Error writeWeights(AtomicFile &file, uint64_t base, Metadata &metadata, WeightSource &source,
                         const WriteProgress &progress) {
  const int64_t lastLayer = static_cast<int64_t>(metadata.artifact.model->layers) - 1;
  std::map<Operation *, WeightRows> readers; // of the modules that the weights come from
  Writer writer(file, base, progress, metadata.weightBytes);
  for (auto [placed, entry] : llvm::zip(metadata.weights, metadata.artifact.weights)) {
    WeightRows &rows = readers.try_emplace(placed.module, placed.module, source, lastLayer).first->second;
    for (int64_t layer : placed.layers) {
      llvm::Expected<uint64_t> hash = writer.writeTensor(rows, placed.weight, layer, entry->offsets[layer]);
      if (!hash)
        return hash.takeError();
      entry->hashes[layer] = *hash;
    }
  }
  return llvm::Error::success();
}
} // namespace

llvm::Expected<uint64_t> moray::codegen::writeArtifact(const std::string &path, Metadata &metadata,
                                                       WeightSource *source, const WriteProgress &progress) {
  // Hashes do not change the size of the tables, so the layout is known before a weight is read.
  moray_preamble preamble = {};
  moray_section *sections = preamble.sections;
  sections[MORAY_SECTION_METADATA] = {MORAY_PREAMBLE_BYTES, serialise(metadata.artifact).size(), 0};
  sections[MORAY_SECTION_CODE] = {
      llvm::alignTo(sections[MORAY_SECTION_METADATA].offset + sections[MORAY_SECTION_METADATA].size,
                    schema::kPageBytes),
      metadata.codeBytes, 0};
  sections[MORAY_SECTION_WEIGHTS] = {sections[MORAY_SECTION_CODE].offset + metadata.codeBytes,
                                     source ? metadata.weightBytes : 0, 0};
  preamble.file_size = sections[MORAY_SECTION_WEIGHTS].offset + sections[MORAY_SECTION_WEIGHTS].size;

  llvm::Expected<AtomicFile> file = AtomicFile::create(path, preamble.file_size);
  if (!file)
    return file.takeError();
  if (source)
    if (llvm::Error error = writeWeights(*file, sections[MORAY_SECTION_WEIGHTS].offset, metadata, *source, progress))
      return std::move(error);

  std::vector<uint8_t> section(metadata.codeBytes, 0);
  for (auto [image, entry] : llvm::zip(metadata.images, metadata.artifact.images))
    std::memcpy(section.data() + entry->offset, image->bytes.data(), image->bytes.size());
  sections[MORAY_SECTION_CODE].hash = XXH3_64bits(section.data(), section.size());
  if (llvm::Error error = file->writeAt(sections[MORAY_SECTION_CODE].offset, section))
    return std::move(error);

  std::vector<uint8_t> tables = serialise(metadata.artifact);
  sections[MORAY_SECTION_METADATA].hash = XXH3_64bits(tables.data(), tables.size());
  if (llvm::Error error = file->writeAt(sections[MORAY_SECTION_METADATA].offset, tables))
    return std::move(error);

  std::memcpy(preamble.magic, MORAY_MAGIC, sizeof preamble.magic);
  preamble.format_version = MORAY_FORMAT_VERSION;
  preamble.abi_id = MORAY_ABI_ID;
  preamble.checksum = XXH3_64bits(&preamble, offsetof(moray_preamble, checksum));
  if (llvm::Error error = file->writeAt(0, {reinterpret_cast<const uint8_t *>(&preamble), sizeof preamble}))
    return std::move(error);
  if (llvm::Error error = file->commit(preamble.file_size))
    return std::move(error);
  return preamble.file_size;
}
