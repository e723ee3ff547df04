// Decides, before anything is allocated, what an engine of given capacities needs: kernel variants, buffers, every byte
// of memory.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/exec/memory_plan.h"
#include <vector>

namespace moray::rt {

// Sizes that are fixed for the life of an engine.
struct Capacities {
  uint64_t rows;       // T
  uint64_t seqs;       // B
  uint64_t outs;       // N
  uint64_t pages;      // P: width of a page table
  uint64_t cachePages; // C
  uint32_t threads;
};

constexpr size_t kInputCount = static_cast<size_t>(schema::InputId::MAX) + 1;
constexpr uint64_t kNoProgram = ~uint64_t{0};

// The programs that the engine runs; layer programs are expanded into them.
enum class Entry { Step, Sample, Score };
constexpr size_t kEntryCount = 3;

struct EntryPlan {
  uint64_t program = kNoProgram; // index in the artifact
  uint64_t frameBytes = 0;       // its own buffers; the frame of the called layers follows
  uint64_t launches = 0;
  uint64_t operands = 0;
};

struct ExecPlan {
  // Fills everything. Errors: 4022 where `level` lacks a variant, 5008 beyond the bounds of the artifact or of 64 bits.
  static Status make(const Artifact &artifact, const schema::Target &target, schema::CpuLevel level,
                     const Capacities &capacities, ExecPlan &plan);

  const schema::Target *target = nullptr;
  Capacities capacities = {};
  schema::CpuLevel level = {};
  uint64_t symbols[schema::kSymbolCount] = {};     // live counts at their capacity
  std::vector<const schema::Variant *> variants;   // by kernel
  std::vector<std::vector<PlannedBuffer>> buffers; // by program
  EntryPlan entries[kEntryCount];

  uint64_t inputBytes[kInputCount] = {};
  uint64_t inputOffsets[kInputCount] = {}; // in the io block
  uint64_t cacheLayerBytes = 0;
  uint64_t scratchWorkerBytes = 0;
  moray_memory_plan memory = {};

private:
  Status bindSymbols(const Artifact &artifact);
  Status chooseVariants(const Artifact &artifact);
  Status planBuffers();
  Status planEntries();
  Status planInputs(const Artifact &artifact);
  Status planTotals(const Artifact &artifact);
};

// The CPU target and the best of its levels that the machine executes, or exactly the level that `name` forces. 4022,
// 4023.
Status chooseLevel(const Artifact &artifact, const char *name, const schema::Target *&target, schema::CpuLevel &level);

// By weight: whether an argument of the target's programs names it.
std::vector<bool> usedWeights(const Artifact &artifact, const schema::Target &target);

// Evaluates a checked expression; 5008 where it exceeds 64 bits or divides by zero at these sizes.
Status evaluateSize(const flatbuffers::Vector<const schema::ExprOp *> *ops, const uint64_t *symbols, uint64_t &result);

} // namespace moray::rt
