// Chooses the rows of a step and writes the inputs of the step program.
#pragma once
#include "runtime/engine/sequence.h"
#include "runtime/exec/executor.h"

namespace moray::rt {

// A row with logits and what becomes of them.
struct OutRow {
  moray_sequence *sequence;
  size_t position;
  bool sample, score, logits;
};

struct BatchEntry {
  moray_sequence *sequence;
  uint32_t rows;
};

class Batcher {
public:
  void reset(const Capacities &newCapacities, uint32_t newChunk, uint32_t newPageTokens);

  // Decode rows of all running sequences in order of admission, then prompt rows in the same order, as many as rows and
  // outs allow. The choice depends on nothing but the sequences; false when there is no row to compute.
  bool build(Span<moray_sequence *const> running);
  void writeInputs(Executor &executor) const;
  void writeSampling(Executor &executor) const;
  void writeTargets(Executor &executor) const;

  const int32_t (&live() const)[4] { return counts; }
  Span<const BatchEntry> sequences() const { return {entries.data(), entries.size()}; }
  Span<const OutRow> outs() const { return {outRows.data(), outRows.size()}; }
  bool anySample() const { return samples; }
  bool anyScore() const { return scores; }
  bool anyLogits() const { return wanted; }

private:
  void addRows(moray_sequence &sequence, uint64_t limit);

  Capacities capacities = {};
  uint32_t chunk = 0, pageTokens = 0;
  int32_t counts[4] = {};
  std::vector<BatchEntry> entries;
  std::vector<OutRow> outRows;
  bool samples = false, scores = false, wanted = false;
};

} // namespace moray::rt
