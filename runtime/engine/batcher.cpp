// Builds batches; all of its arrays have their final capacity from the start.
#include "runtime/engine/batcher.h"
#include <algorithm>

namespace moray::rt {

using schema::InputId;

void Batcher::reset(const Capacities &newCapacities, uint32_t newChunk, uint32_t newPageTokens) {
  capacities = newCapacities;
  chunk = newChunk;
  pageTokens = newPageTokens;
  entries.reserve(capacities.seqs);
  outRows.reserve(capacities.outs);
}

bool Batcher::build(Span<moray_sequence *const> running) {
  entries.clear();
  outRows.clear();
  samples = scores = wanted = false;
  std::fill(counts, counts + 4, 0);
  for (moray_sequence *sequence : running)
    if (sequence->decoding())
      addRows(*sequence, 1);
  counts[MORAY_LIVE_DECODE_ROWS] = counts[MORAY_LIVE_ROWS];
  for (moray_sequence *sequence : running)
    if (!sequence->decoding())
      addRows(*sequence, chunk);
  return counts[MORAY_LIVE_ROWS] != 0;
}

// Takes up to `limit` rows of one sequence, fewer where rows or outs of the step are used up.
void Batcher::addRows(moray_sequence &sequence, uint64_t limit) {
  const size_t end = std::min<size_t>(sequence.tokens.size(), sequence.computed + limit);
  size_t position = sequence.computed;
  for (; position < end && static_cast<uint64_t>(counts[MORAY_LIVE_ROWS]) < capacities.rows; ++position) {
    const bool sample = sequence.wantsSample(position);
    const bool score = sequence.wantsScore(position);
    const bool logits = sequence.wantsLogits(position);
    if (sample || score || logits) {
      if (outRows.size() == capacities.outs)
        break;
      outRows.push_back({&sequence, position, sample, score, logits});
      samples = samples || sample;
      scores = scores || score;
      wanted = wanted || logits;
    }
    ++counts[MORAY_LIVE_ROWS];
  }
  const auto rows = static_cast<uint32_t>(position - sequence.computed);
  if (rows == 0)
    return;
  entries.push_back({&sequence, rows});
  ++counts[MORAY_LIVE_SEQS];
  counts[MORAY_LIVE_OUTS] = static_cast<int32_t>(outRows.size());
}

void Batcher::writeInputs(Executor &executor) const {
  auto *tokens = executor.input<int32_t>(InputId::Tokens);
  auto *positions = executor.input<int32_t>(InputId::Positions);
  auto *rowSeq = executor.input<int32_t>(InputId::RowSeq);
  auto *cuRows = executor.input<int32_t>(InputId::CuRows);
  auto *pageTable = executor.input<int32_t>(InputId::PageTable);
  auto *contexts = executor.input<int32_t>(InputId::CtxLen);
  auto *outIndex = executor.input<int32_t>(InputId::OutRows);
  const OutRow *out = outRows.data();
  int32_t row = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    const moray_sequence &sequence = *entries[e].sequence;
    const size_t keys = sequence.computed + entries[e].rows;
    cuRows[e] = row;
    contexts[e] = static_cast<int32_t>(keys);
    for (size_t position = sequence.computed; position < keys; ++position, ++row) {
      tokens[row] = sequence.tokens[position];
      positions[row] = static_cast<int32_t>(position);
      rowSeq[row] = static_cast<int32_t>(e);
      if (out != outRows.data() + outRows.size() && out->sequence == &sequence && out->position == position)
        outIndex[out++ - outRows.data()] = row;
    }
    const size_t pages = (keys + pageTokens - 1) / pageTokens;
    std::copy(sequence.pages.begin(), sequence.pages.begin() + static_cast<ptrdiff_t>(pages),
              pageTable + e * capacities.pages);
  }
  cuRows[entries.size()] = row;
}

// Rows that nobody samples are drawn greedily and ignored.
void Batcher::writeSampling(Executor &executor) const {
  auto *params = executor.input<moray_sample_params>(InputId::SampleParams);
  for (const OutRow &out : outRows) {
    const moray_sequence_options &options = out.sequence->options;
    const auto next = static_cast<uint32_t>(out.position + 1);
    *params++ = out.sample ? moray_sample_params{options.seed, next, options.temperature, options.top_k, options.top_p}
                           : moray_sample_params{0, next, 0, 0, 1};
  }
}

void Batcher::writeTargets(Executor &executor) const {
  auto *targets = executor.input<int32_t>(InputId::Targets);
  for (const OutRow &out : outRows)
    *targets++ = out.score ? out.sequence->tokens[out.position + 1] : 0;
}

} // namespace moray::rt
