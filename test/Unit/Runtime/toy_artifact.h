// Builds small artifacts in memory and on disk: a toy model of three layers whose kernels are C code.
#pragma once
#include "artifact_generated.h"
#include "runtime/schema/kernel_abi.h"
#include "runtime/schema/size_expr.h"
#include <cstdint>
#include <string>
#include <vector>

namespace moray::test {

// The metadata as objects to change, and the bytes of the other sections.
struct ToyArtifact {
  ToyArtifact(); // a valid model with step, layer, sample and score programs, variants for two CPU levels and a probe

  schema::ArtifactT metadata;
  std::vector<uint8_t> code, weights;

  // The file; hashes and the preamble are made to fit, whatever the metadata says.
  std::vector<uint8_t> serialize() const;
  // The file around other metadata bytes.
  std::vector<uint8_t> serialize(const std::vector<uint8_t> &metadataBytes) const;
  std::vector<uint8_t> metadataBytes() const;

  // Weight of a layer: {seed of the hash, key of a first token at which the layer faults, 0: none}.
  uint32_t *layerWeight(uint32_t layer);
  // A target for GPUs of compute capability `sm` beside the CPU's, with the kernels of toy_kernels.ptx.
  void addCudaTarget(uint32_t sm = 80);
  // Experts in all layers but the first, and a distributed step beside the step.
  void addExperts();
  // A step of two micro-batches beside the distributed step, which addExperts made.
  void addOverlap();
  // An image that pretends to be the cubin of all kernels for `sm`, and a variant of every kernel of target `index` on
  // it.
  void addCubin(size_t index, uint32_t sm);
  // Replaces the bytes of an image.
  void setImage(size_t index, const std::string &bytes);

  schema::TargetT &target(size_t index = 0) { return *metadata.targets[index]; }
  schema::ProgramT &program(schema::ProgramKind kind); // of the first target
  std::unique_ptr<schema::Name> name(const std::string &text);
};

// A file of its own, removed on destruction.
class TempFile {
public:
  explicit TempFile(const std::vector<uint8_t> &bytes);
  ~TempFile();
  const char *path() const { return file.c_str(); }
  // Replaces the content.
  void write(const std::vector<uint8_t> &bytes) const;

private:
  std::string file;
};

// Makes the checksum of the preamble and the hashes of its sections fit the bytes.
void repairHashes(std::vector<uint8_t> &file);

// What the toy model generates greedily: the oracle of the engine tests, without pages, batches or chunks.
std::vector<int32_t> toyGenerate(std::vector<int32_t> tokens, size_t count);
// The token with the largest logit behind the last of `tokens`.
int32_t toyNext(const std::vector<int32_t> &tokens);

// The key that the first token of a sequence gets in the cache of layer 1.
uint32_t toyFirstKey(int32_t token);

} // namespace moray::test
