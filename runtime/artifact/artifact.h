// A loaded artifact: the mapped file, its sections and the checked metadata. Nothing in it needs a further check of
// indices.
#pragma once
#include "artifact_generated.h"
#include "runtime/base/mapped_memory.h"
#include "runtime/schema/artifact_constants.h"
#include "runtime/schema/kernel_abi.h"
#include "runtime/schema/size_expr.h"

namespace moray::rt {

// Limits of the checker, far above every known model; they bound what a hostile file can make the loader allocate.
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kMaxOperands = 512;
constexpr uint64_t kMaxLaunches = 1u << 20; // of one run of a program, calls expanded
constexpr uint64_t kMaxGrid = 0x7FFFFFFF;   // blocks of a launch

// Arguments of collectives (artifact.fbs).
constexpr size_t kDispatchArgs = 9, kCombineArgs = 3; // a dispatch without scales has two less

class Artifact {
public:
  // Maps `path` and checks preamble, hashes of metadata and code, the FlatBuffer and its meaning. Weights are not read.
  // Errors 4001 - 4019.
  static Status load(const char *path, Artifact &artifact);
  // Compares the stored hash of every embedded weight; 4020 names the first that differs.
  Status verifyWeights() const;

  const schema::Artifact &metadata() const { return *root; }
  const schema::ModelConfig &model() const { return *root->model(); }
  uint32_t targetCount() const { return root->targets()->size(); }
  const schema::Target &target(uint32_t index) const { return *root->targets()->Get(index); }
  const MappedFile &file() const { return mapped; }
  Bytes section(int index) const { return sections[index]; }
  // Position of the code section in the file.
  uint64_t codeOffset() const { return codeStart; }
  // Bytes from the first to the last weight: the size of the section where weights are embedded, of a memory block
  // otherwise.
  uint64_t weightBytes() const { return weightSpan; }

  // Whether the leading dimension of a weight counts experts: [experts, rows, columns] in each layer that has them.
  bool ofExperts(const schema::Weight &weight) const {
    return weight.per_layer() && weight.dims() && weight.dims()->size() == 3 &&
           weight.dims()->Get(0) == root->model()->experts();
  }
  moray_string text(const schema::Name *name) const;

private:
  Status checkPreamble();
  Status checkSections(const moray_preamble &preamble);
  Status checkMetadata();

  MappedFile mapped;
  Bytes sections[MORAY_SECTION_COUNT];
  uint64_t codeStart = 0;
  uint64_t weightSpan = 0;
  const schema::Artifact *root = nullptr;
};

const char *levelName(schema::CpuLevel level);

} // namespace moray::rt
