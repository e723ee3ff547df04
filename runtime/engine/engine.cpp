// The step of the engine: admit, compute, deliver. Adding a sequence allocates all that it will ever need; steps
// allocate nothing.
#include "runtime/engine/engine.h"
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include "runtime/device/devices.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace moray::rt {

using schema::InputId;

static unsigned long long number(uint64_t value) { return value; }

Status Engine::create(const Artifact &artifact, const moray_engine_options &options, std::unique_ptr<Engine> &engine) {
  const uint64_t start = nowNs();
  if (!artifact.metadata().weights_embedded() && !options.random_weights)
    return fail(kE4024,
                "the artifact was compiled with --weights=none; compile it with --weights=embed, or ask for random "
                "weights to measure speed");
  auto made = std::make_unique<Engine>(artifact);
  MORAY_TRY(resolveOptions(artifact, options, made->setup));
  MORAY_TRY(made->joinGroup());
  MORAY_TRY(made->connectGroup(createExecutor(artifact, made->setup, options, made->executor)));
  const Capacities &capacities = made->setup.capacities;
  made->pages.reset(static_cast<uint32_t>(capacities.cachePages));
  made->batcher.reset(capacities, made->setup.prefillChunk, artifact.model().cache_page());
  made->running.reserve(capacities.seqs);
  made->createNs = nowNs() - start;
  engine = std::move(made);
  return {};
}

// ---- sequences ----

Status Engine::add(Span<const int32_t> prompt, const moray_sequence_options &options, moray_sequence *&sequence) {
  if (reports())
    return fail(kE5002, "sequences are added on rank 0 of a group, this is rank %u; call moray_group_serve",
                link->rank());
  std::unique_ptr<moray_sequence> made;
  MORAY_TRY(makeSequence(prompt, options, {options.logits != nullptr, options.log_probs != nullptr}, made));
  sequence = made.get();
  sequence->number = added++;
  sequence->home = link ? static_cast<uint32_t>(sequence->number % link->ranks()) : 0;
  if (sequence->home == 0) {
    waiting.push_back(sequence);
  } else {
    link->outbox(sequence->home).add(*sequence);
    sequence->startedNs = sequence->addedNs;
    away.push_back(sequence);
  }
  sequences.push_back(std::move(made));
  return {};
}

Status Engine::makeSequence(Span<const int32_t> prompt, const moray_sequence_options &options, Kept kept,
                            std::unique_ptr<moray_sequence> &result) {
  MORAY_TRY(checkPrompt(prompt, options));
  auto made = std::make_unique<moray_sequence>();
  const uint64_t context = setup.context;
  const uint64_t page = artifact.model().cache_page();
  made->engine = this;
  made->options = options;
  made->keepsLogits = kept.logits;
  made->keepsLogProbs = kept.logProbs;
  made->promptTokens = prompt.size();
  made->tokenLimit =
      options.prompt_only ? prompt.size() : std::min<uint64_t>(context, uint64_t{prompt.size()} + options.max_tokens);
  // The last generated token is never computed, so it needs no place in the cache.
  const uint64_t rows = options.prompt_only ? prompt.size() : made->tokenLimit - 1;
  made->pagesNeeded = static_cast<uint32_t>((rows + page - 1) / page);
  MORAY_TRY(checkLength(prompt.size(), *made));
  made->tokens.reserve(made->tokenLimit);
  made->tokens.assign(prompt.begin(), prompt.end());
  made->pages.reserve(made->pagesNeeded);
  made->addedNs = nowNs();
  result = std::move(made);
  return {};
}

Status Engine::checkPrompt(Span<const int32_t> prompt, const moray_sequence_options &options) const {
  if (prompt.empty())
    return fail(kE5003, "the prompt is empty; give at least one token, such as the begin-of-sentence token");
  const uint32_t vocab = artifact.model().vocab();
  for (size_t i = 0; i < prompt.size(); ++i)
    if (prompt[i] < 0 || static_cast<uint32_t>(prompt[i]) >= vocab)
      return fail(kE5004, "token %zu of the prompt has id %d, expected 0 to %u", i, prompt[i], vocab - 1);
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature))
    return fail(kE5006, "temperature is %g, expected a number of at least 0", static_cast<double>(options.temperature));
  if (!(options.top_p > 0 && options.top_p <= 1))
    return fail(kE5006, "top_p is %g, expected more than 0 and at most 1", static_cast<double>(options.top_p));
  if (options.max_tokens < 1)
    return fail(kE5006, "max_tokens is 0, expected at least 1; to compute a prompt alone set prompt_only");
  if (!options.prompt_only && !executor->has(Entry::Sample))
    return fail(kE5012, "the artifact has no sample program, so it cannot generate; compile the model again");
  if (options.log_probs && !executor->has(Entry::Score))
    return fail(kE5012, "the artifact has no score program, so it cannot score; compile the model again");
  return {};
}

Status Engine::checkLength(size_t prompt, const moray_sequence &sequence) const {
  const size_t longest = setup.context - (sequence.options.prompt_only ? 0 : 1);
  if (prompt > longest)
    return fail(kE5005,
                "the prompt has %zu tokens, the context of %u has room for %zu; shorten it or ask for a longer context "
                "(-c; the model allows %u)",
                prompt, setup.context, longest, artifact.model().max_positions());
  if (sequence.pagesNeeded > pages.size())
    return fail(kE5005, "the sequence needs %u cache pages, the cache has %u; ask for fewer tokens or a larger cache",
                sequence.pagesNeeded, pages.size());
  return {};
}

void Engine::finishSequence(moray_sequence &sequence, moray_finish reason) {
  sequence.finish = reason;
  pages.giveBack(sequence.pages);
}

void Engine::dropFinished() {
  running.erase(std::remove_if(running.begin(), running.end(), [](const moray_sequence *s) { return s->done(); }),
                running.end());
}

void Engine::cancel(moray_sequence &sequence, moray_finish reason) {
  if (sequence.done())
    return;
  finishSequence(sequence, reason);
  dropFinished();
  waiting.erase(std::remove(waiting.begin(), waiting.end(), &sequence), waiting.end());
  if (sequence.home != 0) {
    link->outbox(sequence.home).cancel(sequence.number);
    away.erase(std::remove(away.begin(), away.end(), &sequence), away.end());
  }
}

void Engine::release(moray_sequence *sequence) {
  cancel(*sequence, MORAY_FINISH_CANCELLED);
  sequences.erase(std::remove_if(sequences.begin(), sequences.end(),
                                 [&](const std::unique_ptr<moray_sequence> &owned) { return owned.get() == sequence; }),
                  sequences.end());
}

// In the order of addition; a sequence that does not fit yet keeps the later ones waiting, so none starves.
void Engine::admit() {
  size_t admitted = 0;
  const uint64_t time = waiting.empty() ? 0 : nowNs();
  while (admitted < waiting.size() && running.size() < setup.capacities.seqs &&
         waiting[admitted]->pagesNeeded <= pages.available()) {
    moray_sequence &sequence = *waiting[admitted++];
    pages.take(sequence.pagesNeeded, sequence.pages);
    sequence.startedNs = time;
    running.push_back(&sequence);
  }
  waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(admitted));
}

// ---- steps ----

Status Engine::step(moray_step_info &info) {
  const uint64_t start = nowNs();
  const uint64_t inside = executor->counters().stepNs + executor->counters().sampleNs;
  info = {};
  if (reports())
    return fail(kE5002, "rank 0 of a group steps, this is rank %u; call moray_group_serve", link->rank());
  // What is sent to other ranks begins there one step later; what begins here waits for it, so that prompts which came
  // together are computed together. Not twice in a row, so that nobody starves.
  heldBack = link && link->sending() && !heldBack;
  if (!heldBack)
    admit();
  Status status;
  const bool work = batcher.build({running.data(), running.size()});
  if (link && link->ranks() > 1) {
    bool ended = false;
    status = stepTogether(work, info, ended);
  } else if (work) {
    const comm::StepDecision decision = decideAlone(++aloneSteps, vote(work));
    report(decision, info);
    if (link)
      executor->beginStep(decision);
    status = compute(decision);
  }
  if (status.ok() && link && link->ranks() == 1) {
    status = prepareChange();
    if (status.ok() && change.decided)
      status = changePlacement();
  }
  info.running = static_cast<uint32_t>(running.size() + away.size());
  info.waiting = static_cast<uint32_t>(waiting.size());
  info.ns = nowNs() - start;
  statistics.host_ns += info.ns - (executor->counters().stepNs + executor->counters().sampleNs - inside);
  return status;
}

// Live counts of all ranks and micro-batches.
void Engine::report(const comm::StepDecision &decision, moray_step_info &info) {
  uint32_t *counts[] = {&info.rows, &info.decode_rows, &info.seqs, &info.outs};
  for (uint32_t i = 0; i < comm::kLiveCounts; ++i)
    *counts[i % 4] += static_cast<uint32_t>(decision.sum[i]);
}

Status Engine::compute(const comm::StepDecision &decision) {
  Status status = runPrograms(decision);
  if (status.ok())
    status = deliver();
  if (!status.ok())
    for (const BatchEntry &entry : batcher.sequences())
      if (!entry.sequence->done())
        finishSequence(*entry.sequence, MORAY_FINISH_FAILED);
  dropFinished();
  return status;
}

StepRequest Engine::request(uint32_t b, const comm::StepDecision &decision) const {
  return {batcher.live(b), batcher.anySample(b), batcher.anyScore(b), batcher.anyLogits(b),
          static_cast<uint64_t>(decision.max[4 * b + MORAY_LIVE_ROWS])};
}

Status Engine::runPrograms(const comm::StepDecision &decision) {
  auto prepare = [&](uint32_t b) {
    batcher.writeInputs(*executor, b);
    if (batcher.anySample(b))
      batcher.writeSampling(*executor, b);
    if (batcher.anyScore(b))
      batcher.writeTargets(*executor, b);
    return request(b, decision);
  };
  StepRequest first = prepare(0);
  if (setup.capacities.batches == 1)
    return executor->step(first);
  const StepRequest second = prepare(1);
  first.second = &second;
  return executor->step(first);
}

Status Engine::deliver() {
  const uint64_t time = nowNs();
  const size_t vocab = artifact.model().vocab();
  ++statistics.steps;
  for (const int32_t (&live)[4] : batcher.live()) {
    statistics.decode_rows += static_cast<uint64_t>(live[MORAY_LIVE_DECODE_ROWS]);
    statistics.prompt_rows += static_cast<uint64_t>(live[MORAY_LIVE_ROWS] - live[MORAY_LIVE_DECODE_ROWS]);
  }
  size_t taken[kBatches] = {}; // results of each micro-batch
  for (const OutRow &out : batcher.outs()) {
    const size_t i = taken[out.batch]++;
    const int32_t token = executor->input<int32_t>(InputId::Sampled, out.batch)[i];
    deliverRow(out, token, executor->input<float>(InputId::LogProbs, out.batch)[i],
               executor->input<float>(InputId::Logits, out.batch) + i * vocab);
    if (out.sample)
      MORAY_TRY(deliverToken(*out.sequence, token, time));
  }
  for (const BatchEntry &entry : batcher.sequences()) {
    advance(*entry.sequence, entry.rows, time);
    if (reports())
      link->outbox(0).progress(entry.sequence->number, entry.rows);
  }
  return {};
}

// Logits and log-probabilities go to the caller's memory, or to rank 0.
void Engine::deliverRow(const OutRow &out, int32_t token, float logProb, const float *logits) {
  const size_t vocab = artifact.model().vocab();
  const moray_sequence &sequence = *out.sequence;
  if (reports()) {
    const uint32_t flags =
        (out.sample ? kOutSample : 0u) | (out.score ? kOutScore : 0u) | (out.logits ? kOutLogits : 0u);
    link->outbox(0).out(
        {MessageKind::Out, flags, sequence.number, out.position, out.logits ? vocab : 0, token, logProb}, logits);
    return;
  }
  if (out.logits)
    memcpy(sequence.options.logits + out.position * vocab, logits, vocab * sizeof(float));
  if (out.score)
    sequence.options.log_probs[out.position] = logProb;
}

void Engine::advance(moray_sequence &sequence, uint64_t rows, uint64_t time) {
  sequence.computed += rows;
  if (sequence.options.prompt_only && sequence.computed == sequence.promptTokens) {
    sequence.firstTokenNs = sequence.lastTokenNs = time;
    finishSequence(sequence, MORAY_FINISH_PROMPT);
  }
}

Status Engine::deliverToken(moray_sequence &sequence, int32_t token, uint64_t time) {
  if (token < 0 || static_cast<uint32_t>(token) >= artifact.model().vocab())
    return fail(kE5013, "the sample program drew token %d, expected 0 to %u; compile the model again", token,
                artifact.model().vocab() - 1);
  sequence.tokens.push_back(token); // within the reserved capacity
  ++statistics.sampled_tokens;
  sequence.lastTokenNs = time;
  if (sequence.firstTokenNs == 0)
    sequence.firstTokenNs = time;
  const size_t generated = sequence.tokens.size() - sequence.promptTokens;
  bool end = false;
  const auto *eos = artifact.model().eos();
  for (uint32_t i = 0; !sequence.options.ignore_eos && i < sizeOf(eos); ++i)
    end = end || eos->Get(i) == token;
  if (end)
    finishSequence(sequence, MORAY_FINISH_EOS);
  else if (generated == sequence.options.max_tokens)
    finishSequence(sequence, MORAY_FINISH_MAX_TOKENS);
  else if (sequence.tokens.size() == sequence.tokenLimit)
    finishSequence(sequence, MORAY_FINISH_CONTEXT);
  return {};
}

Status Engine::finish(moray_sequence &sequence) {
  moray_step_info info;
  while (!sequence.done())
    MORAY_TRY(step(info));
  return {};
}

// ---- probes ----

Status Engine::runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) {
  if (options.bytes < 1 || options.bytes > (uint64_t{1} << 40) || options.iterations < 1)
    return fail(kE5002, "a probe of %llu bytes and %llu iterations was asked for, expected 1 to 2^40 and at least 1",
                number(options.bytes), number(options.iterations));
  return executor->runProbe(name, options, result);
}

} // namespace moray::rt
