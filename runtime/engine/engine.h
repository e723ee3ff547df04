// The engine: continuous batching over the compiled step, sample and score programs.
#pragma once
#include "runtime/device/options.h"
#include "runtime/engine/batcher.h"
#include "runtime/engine/page_pool.h"
#include <memory>

namespace moray::rt {

class Engine {
public:
  // The artifact must outlive the engine.
  static Status create(const Artifact &artifact, const moray_engine_options &options, std::unique_ptr<Engine> &engine);

  // The sequence belongs to the engine until release.
  Status add(Span<const int32_t> prompt, const moray_sequence_options &options, moray_sequence *&sequence);
  void cancel(moray_sequence &sequence, moray_finish reason);
  void release(moray_sequence *sequence);

  Status step(moray_step_info &info);
  // Steps until the sequence is done.
  Status finish(moray_sequence &sequence);

  Status runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result);

  void resetProfile() { executor->resetProfile(); }

  const Artifact &model() const { return artifact; }
  const Executor &execution() const { return *executor; }
  const EngineSetup &configuration() const { return setup; }
  const moray_statistics &counters() const { return statistics; }
  uint64_t createNs = 0;

  explicit Engine(const Artifact &artifact) : artifact(artifact) {}

private:
  Status checkPrompt(Span<const int32_t> prompt, const moray_sequence_options &options) const;
  Status checkLength(size_t prompt, const moray_sequence &sequence) const;
  void admit();
  Status compute();
  Status runPrograms();
  Status deliver();
  Status deliverToken(moray_sequence &sequence, int32_t token, uint64_t time);
  void finishSequence(moray_sequence &sequence, moray_finish reason);
  void dropFinished();

  const Artifact &artifact;
  EngineSetup setup = {};
  std::unique_ptr<Executor> executor;
  PagePool pages;
  Batcher batcher;
  std::vector<moray_sequence *> running; // in order of admission
  std::vector<moray_sequence *> waiting; // in order of addition
  std::vector<std::unique_ptr<moray_sequence>> sequences;
  moray_statistics statistics = {};
};

} // namespace moray::rt
