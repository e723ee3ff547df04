// The engine: continuous batching over the compiled step, sample and score programs.
#pragma once
#include "runtime/device/options.h"
#include "runtime/engine/batcher.h"
#include "runtime/engine/group_link.h"
#include "runtime/engine/page_pool.h"
#include <memory>

namespace moray::rt {

class Engine {
public:
  // The artifact and the group must outlive the engine. In a group: returns when all ranks are there.
  static Status create(const Artifact &artifact, const moray_engine_options &options, std::unique_ptr<Engine> &engine);

  // The sequence belongs to the engine until release.
  Status add(Span<const int32_t> prompt, const moray_sequence_options &options, moray_sequence *&sequence);
  void cancel(moray_sequence &sequence, moray_finish reason);
  void release(moray_sequence *sequence);

  Status step(moray_step_info &info);
  // Steps until the sequence is done.
  Status finish(moray_sequence &sequence);

  // Ranks other than 0: steps until rank 0 ends the group.
  Status serve();
  // Rank 0: all ranks end; at most once, and not after a failure.
  Status endGroup();

  // Rank 0 of a group. Another placement, from some later step on; and what the experts had to do so far, loads
  // [layers][experts].
  Status place(const moray_placement &given);
  Status expertLoads(uint64_t *loads);

  Status runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result);

  void resetProfile() { executor->resetProfile(); }

  const Artifact &model() const { return artifact; }
  const Executor &execution() const { return *executor; }
  const EngineSetup &configuration() const { return setup; }
  const moray_statistics &counters() const { return statistics; }
  uint64_t createNs = 0;

  explicit Engine(const Artifact &artifact) : artifact(artifact) {}
  // Rank 0 ends the group.
  ~Engine();

private:
  // What the caller wants back of a sequence.
  struct Kept {
    bool logits, logProbs;
  };

  Status makeSequence(Span<const int32_t> prompt, const moray_sequence_options &options, Kept kept,
                      std::unique_ptr<moray_sequence> &made);
  Status checkPrompt(Span<const int32_t> prompt, const moray_sequence_options &options) const;
  Status checkLength(size_t prompt, const moray_sequence &sequence) const;
  void admit();
  static void report(const comm::StepDecision &decision, moray_step_info &info);
  StepRequest request(uint32_t b, const comm::StepDecision &decision) const;
  Status compute(const comm::StepDecision &decision);
  Status runPrograms(const comm::StepDecision &decision);
  Status deliver();
  void deliverRow(const OutRow &out, int32_t token, float logProb, const float *logits);
  void advance(moray_sequence &sequence, uint64_t rows, uint64_t time);
  Status deliverToken(moray_sequence &sequence, int32_t token, uint64_t time);
  void finishSequence(moray_sequence &sequence, moray_finish reason);
  void dropFinished();

  // engine_group.cpp
  Status joinGroup();
  Status connectGroup(Status status);
  comm::StepVote vote(bool work) const;
  Status stepTogether(bool work, moray_step_info &info, bool &ended);
  Status closeGroup();
  void failGroup(const Status &cause);
  Status receive(Bytes bytes, uint32_t from);
  Status receive(const Message &message, Inbox &inbox, uint32_t from);
  Status receiveSequence(const Message &message, Inbox &inbox);
  void receiveCancel(uint64_t number);
  Status receiveResult(const Message &message, Inbox &inbox, uint32_t from);
  // engine_placement.cpp
  Status needGroup() const;
  Status prepareChange();
  Status changePlacement();
  Status receivePlacement(const Message &message, Inbox &inbox);
  Status receiveLoads(const Message &message, Inbox &inbox, uint32_t from);
  Status sendLoads();
  // Whether results go to rank 0.
  bool reports() const { return link && link->rank() != 0; }

  const Artifact &artifact;
  EngineSetup setup = {};
  std::unique_ptr<GroupLink> link; // null: one process; outlives the executor's exchange
  std::unique_ptr<Executor> executor;
  PagePool pages;
  Batcher batcher;
  std::vector<moray_sequence *> running; // in order of admission
  std::vector<moray_sequence *> waiting; // in order of addition
  std::vector<moray_sequence *> away;    // on rank 0: those that other ranks compute
  std::vector<std::unique_ptr<moray_sequence>> sequences;
  moray_statistics statistics = {};

  std::vector<uint8_t> received; // from rank 0, handled after the step
  uint64_t added = 0;            // sequences, since the start
  uint64_t aloneSteps = 0;       // that no other rank takes part in
  bool groupFailed = false, groupEnded = false;
  bool heldBack = false; // the latest step admitted nothing

  // The placement that comes next.
  struct Change {
    comm::ModelPlacement next;
    bool underWay = false;
    bool prepared = false;   // on this rank
    uint32_t ranksReady = 0; // on rank 0
    bool decided = false;    // on rank 0: the agreement of this step tells all ranks to change after it
  };
  Change change;
  std::vector<uint64_t> loads; // [layers][experts], since the start; on other ranks: not yet sent
  uint32_t loadsMissing = 0;   // ranks that have not answered
};

} // namespace moray::rt
