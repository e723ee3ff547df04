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
  outRows.reserve(capacities.outs * capacities.batches);
}

bool Batcher::build(Span<moray_sequence *const> running) {
  entries.clear();
  outRows.clear();
  for (uint32_t b = 0; b < kBatches; ++b) {
    samples[b] = scores[b] = wanted[b] = false;
    std::fill(counts[b], counts[b] + 4, 0);
  }
  for (moray_sequence *sequence : running)
    if (sequence->decoding())
      addSequence(*sequence, 1);
  for (int32_t (&count)[4] : counts)
    count[MORAY_LIVE_DECODE_ROWS] = count[MORAY_LIVE_ROWS];
  for (moray_sequence *sequence : running)
    if (!sequence->decoding())
      addSequence(*sequence, chunk);
  return !entries.empty();
}

// To the micro-batch with fewer rows, or to the other one where its outs are used up.
void Batcher::addSequence(moray_sequence &sequence, uint64_t limit) {
  const bool overlap = capacities.batches > 1;
  const uint32_t lighter = overlap && counts[1][MORAY_LIVE_ROWS] < counts[0][MORAY_LIVE_ROWS];
  if (!addRows(sequence, limit, lighter) && overlap)
    addRows(sequence, limit, 1 - lighter);
}

// Takes up to `limit` rows of one sequence, fewer where rows or outs of the micro-batch are used up; false for none.
bool Batcher::addRows(moray_sequence &sequence, uint64_t limit, uint32_t batch) {
  int32_t (&count)[4] = counts[batch];
  const size_t end = std::min<size_t>(sequence.tokens.size(), sequence.computed + limit);
  size_t position = sequence.computed;
  for (; position < end && static_cast<uint64_t>(count[MORAY_LIVE_ROWS]) < capacities.rows; ++position) {
    const bool sample = sequence.wantsSample(position);
    const bool score = sequence.wantsScore(position);
    const bool logits = sequence.wantsLogits(position);
    if (sample || score || logits) {
      if (static_cast<uint64_t>(count[MORAY_LIVE_OUTS]) == capacities.outs)
        break;
      outRows.push_back({&sequence, position, sample, score, logits, batch});
      samples[batch] = samples[batch] || sample;
      scores[batch] = scores[batch] || score;
      wanted[batch] = wanted[batch] || logits;
      ++count[MORAY_LIVE_OUTS];
    }
    ++count[MORAY_LIVE_ROWS];
  }
  if (position == sequence.computed)
    return false;
  entries.push_back({&sequence, static_cast<uint32_t>(position - sequence.computed), batch});
  ++count[MORAY_LIVE_SEQS];
  return true;
}

void Batcher::writeInputs(Executor &executor, uint32_t batch) const {
  auto *tokens = executor.input<int32_t>(InputId::Tokens, batch);
  auto *positions = executor.input<int32_t>(InputId::Positions, batch);
  auto *rowSeq = executor.input<int32_t>(InputId::RowSeq, batch);
  auto *cuRows = executor.input<int32_t>(InputId::CuRows, batch);
  auto *pageTable = executor.input<int32_t>(InputId::PageTable, batch);
  auto *contexts = executor.input<int32_t>(InputId::CtxLen, batch);
  auto *outIndex = executor.input<int32_t>(InputId::OutRows, batch);
  const OutRow *out = outRows.data();
  int32_t row = 0, number = 0;
  for (const BatchEntry &entry : entries) {
    const moray_sequence &sequence = *entry.sequence;
    if (entry.batch != batch)
      continue;
    const size_t keys = sequence.computed + entry.rows;
    cuRows[number] = row;
    contexts[number] = static_cast<int32_t>(keys);
    for (size_t position = sequence.computed; position < keys; ++position, ++row) {
      tokens[row] = sequence.tokens[position];
      positions[row] = static_cast<int32_t>(position);
      rowSeq[row] = number;
      while (out != outRows.data() + outRows.size() && out->batch != batch)
        ++out;
      if (out != outRows.data() + outRows.size() && out->sequence == &sequence && out->position == position) {
        *outIndex++ = row;
        ++out;
      }
    }
    const size_t pages = (keys + pageTokens - 1) / pageTokens;
    std::copy(sequence.pages.begin(), sequence.pages.begin() + static_cast<ptrdiff_t>(pages),
              pageTable + static_cast<uint64_t>(number++) * capacities.pages);
  }
  cuRows[number] = row;
}

// Rows that nobody samples are drawn greedily and ignored.
void Batcher::writeSampling(Executor &executor, uint32_t batch) const {
  auto *params = executor.input<moray_sample_params>(InputId::SampleParams, batch);
  for (const OutRow &out : outRows) {
    if (out.batch != batch)
      continue;
    const moray_sequence_options &options = out.sequence->options;
    const auto next = static_cast<uint32_t>(out.position + 1);
    *params++ = out.sample ? moray_sample_params{options.seed, next, options.temperature, options.top_k, options.top_p}
                           : moray_sample_params{0, next, 0, 0, 1};
  }
}

void Batcher::writeTargets(Executor &executor, uint32_t batch) const {
  auto *targets = executor.input<int32_t>(InputId::Targets, batch);
  for (const OutRow &out : outRows)
    if (out.batch == batch)
      *targets++ = out.score ? out.sequence->tokens[out.position + 1] : 0;
}

} // namespace moray::rt
