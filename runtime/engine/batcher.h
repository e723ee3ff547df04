// Chooses the rows of a step, splits them into micro-batches and writes the inputs of the step program.
#pragma once
#include "runtime/engine/sequence.h"
#include "runtime/exec/executor.h"

namespace moray::rt {

// A row with logits and what becomes of them.
struct OutRow {
  moray_sequence *sequence;
  size_t position;
  bool sample, score, logits;
  uint32_t batch;
};

struct BatchEntry {
  moray_sequence *sequence;
  uint32_t rows;
  uint32_t batch; // micro-batch
};

class Batcher {
public:
  void reset(const Capacities &newCapacities, uint32_t newChunk, uint32_t newPageTokens);

  // Decode rows of all running sequences in order of admission, then prompt rows in the same order, as many as rows and
  // outs allow. With overlap each sequence goes as a whole to the micro-batch that has fewer rows by then, the first if
  // they are equal; one may stay empty. The choice depends on nothing but the sequences; false when there is no row to
  // compute.
  bool build(Span<moray_sequence *const> running);
  // Of a micro-batch.
  void writeInputs(Executor &executor, uint32_t batch) const;
  void writeSampling(Executor &executor, uint32_t batch) const;
  void writeTargets(Executor &executor, uint32_t batch) const;

  // Live counts of a micro-batch, and of all.
  const int32_t (&live(uint32_t batch) const)[4] { return counts[batch]; }
  const LiveCounts &live() const { return counts; }
  // In the order of a step without overlap.
  Span<const BatchEntry> sequences() const { return {entries.data(), entries.size()}; }
  Span<const OutRow> outs() const { return {outRows.data(), outRows.size()}; }
  bool anySample(uint32_t batch) const { return samples[batch]; }
  bool anyScore(uint32_t batch) const { return scores[batch]; }
  bool anyLogits(uint32_t batch) const { return wanted[batch]; }

private:
  void addSequence(moray_sequence &sequence, uint64_t limit);
  bool addRows(moray_sequence &sequence, uint64_t limit, uint32_t batch);

  Capacities capacities = {};
  uint32_t chunk = 0, pageTokens = 0;
  LiveCounts counts = {};
  std::vector<BatchEntry> entries;
  std::vector<OutRow> outRows;
  bool samples[kBatches] = {}, scores[kBatches] = {}, wanted[kBatches] = {};
};

} // namespace moray::rt
