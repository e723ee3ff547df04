// The host communicator: order of collectives, waits with deadlines, and the end; micro-batches do the rest.
#include "runtime/comm/host_communicator.h"
#include "runtime/base/clock.h"
#include "runtime/comm/host_batch.h"
#include <cinttypes>
#include <sched.h>
#include <string>
#include <time.h>

namespace moray::rt::comm {

const char *nameOf(Operation operation) {
  static const char *const names[kOperations] = {"load", "agreement", "dispatch", "combine", "shutdown"};
  return names[static_cast<uint32_t>(operation)];
}

namespace {

constexpr uint64_t kSpinNs = 20000, kYieldNs = 10000000, kPollNs = 1000000;
constexpr uint32_t kMostMissing = 8; // named in messages

class HostCommunicator final : public Communicator {
public:
  HostCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                   std::unique_ptr<Transport> transport)
      : deadlineMs(options.deadlineMs), watch(watch), transport(std::move(transport)),
        shared{options.rank, options.ranks, options.combine, placement, this->transport.get(), 0, 0, {}} {}
  ~HostCommunicator() override {
    if (state == State::Open)
      giveUp();
  }

  uint32_t rank() const override { return shared.rank; }
  uint32_t ranks() const override { return shared.ranks; }
  void beginStep(uint64_t step) override { shared.step = step; }
  const Counters &counters() const override { return shared.counted; }

  Status startDispatch(uint32_t batch, const DispatchArgs &args) override {
    return start(batch, Operation::Dispatch, args.layer, [&] { return batches[batch].startDispatch(args); });
  }
  Status startCombine(uint32_t batch, const CombineArgs &args) override {
    return start(batch, Operation::Combine, args.layer, [&] { return batches[batch].startCombine(args); });
  }
  Status wait(uint32_t batch) override;
  Status progress() override;
  Status setPlacement(const ModelPlacement &placement) override;
  Status close() override;

private:
  enum class State { Open, Closed, Failed };

  template <typename Begin> Status start(uint32_t batch, Operation operation, int32_t layer, Begin begin);
  Status checkOpen() const;
  Status checkIdle(const char *what) const; // 5108 unless both micro-batches are between two layers
  // Every call ends here: counts its time, and ends the group after an error.
  Status leave(Status status, uint64_t begunNs);
  void giveUp();

  Status advance(const HostBatch *waited, bool &done);
  Status await(const HostBatch *waited); // null: for the orderly end
  uint32_t listMissing(const HostBatch *waited, uint32_t (&missing)[kMostMissing]);
  Status stalled(const Waiting &waiting) const;

  const uint32_t deadlineMs;
  Watch *const watch;
  const std::unique_ptr<Transport> transport;
  HostRanks shared;
  HostBatch batches[kMicroBatches] = {{shared, 0}, {shared, 1}};
  bool started[kMicroBatches] = {}; // and not waited for
  State state = State::Open;
};

Status HostCommunicator::checkOpen() const {
  if (state == State::Open)
    return {};
  return fail(kE5114, "the group of ranks has %s; start again", state == State::Failed ? "failed before" : "ended");
}

Status HostCommunicator::checkIdle(const char *what) const {
  for (uint32_t batch = 0; batch < kMicroBatches; ++batch)
    if (started[batch] || batches[batch].dispatched())
      return fail(kE5108, "%s follows a dispatch of micro-batch %u; dispatch and combine must alternate", what, batch);
  return {};
}

template <typename Begin>
Status HostCommunicator::start(uint32_t batch, Operation operation, int32_t layer, Begin begin) {
  MORAY_TRY(checkOpen());
  const uint64_t begunNs = nowNs();
  ++shared.counted.collectives;
  const bool dispatched = batches[batch].dispatched();
  if (!started[batch] && dispatched == (operation == Operation::Combine)) {
    started[batch] = true;
    return leave(begin(), begunNs);
  }
  const char *before = started[batch] ? "a collective that was not waited for"
                       : dispatched   ? "a dispatch"
                                      : "no dispatch";
  return leave(fail(kE5108, "%s in layer %d follows %s: dispatch and combine must alternate; compile the model again",
                    nameOf(operation), layer, before),
               begunNs);
}

Status HostCommunicator::wait(uint32_t batch) {
  MORAY_TRY(checkOpen());
  const uint64_t begunNs = nowNs();
  if (!started[batch])
    return leave(fail(kE5108, "a wait of micro-batch %u follows no start; compile the model again", batch), begunNs);
  started[batch] = false;
  return leave(await(&batches[batch]), begunNs);
}

Status HostCommunicator::progress() {
  MORAY_TRY(checkOpen());
  const uint64_t begunNs = nowNs();
  bool done = false;
  return leave(advance(&batches[0], done), begunNs);
}

Status HostCommunicator::setPlacement(const ModelPlacement &placement) {
  MORAY_TRY(checkOpen());
  MORAY_TRY(checkIdle("a new placement"));
  const ModelPlacement &old = shared.placement;
  if (placement.experts() != old.experts() || placement.ranks() != old.ranks() || placement.nodes() != old.nodes())
    return fail(kE5112,
                "the new placement is for %u experts on %u ranks of %u nodes, the model runs with %u on %u of %u",
                placement.experts(), placement.ranks(), placement.nodes(), old.experts(), old.ranks(), old.nodes());
  shared.placement = placement;
  return {};
}

Status HostCommunicator::close() {
  MORAY_TRY(checkOpen());
  const uint64_t begunNs = nowNs();
  Status status = checkIdle("the end");
  if (status.ok() && transport)
    status = await(nullptr);
  status = leave(std::move(status), begunNs);
  if (status.ok())
    state = State::Closed;
  return status;
}

Status HostCommunicator::leave(Status status, uint64_t begunNs) {
  shared.counted.waitNs += nowNs() - begunNs;
  if (!status.ok())
    giveUp();
  return status;
}

void HostCommunicator::giveUp() {
  state = State::Failed;
  if (!transport)
    return;
  transport->abandon();
  for (HostBatch &batch : batches)
    batch.keepMemory();
}

Status HostCommunicator::advance(const HostBatch *waited, bool &done) {
  if (!waited)
    return transport->close(done);
  for (HostBatch &batch : batches)
    MORAY_TRY(batch.progress());
  done = !waited->moving();
  return {};
}

// At the end anybody may be missing: a barrier does not say who.
uint32_t HostCommunicator::listMissing(const HostBatch *waited, uint32_t (&missing)[kMostMissing]) {
  for (HostBatch &batch : batches)
    if (&batch == waited)
      return batch.missing(missing, kMostMissing);
  uint32_t count = 0;
  for (uint32_t peer = 0; peer < shared.ranks && count < kMostMissing; ++peer)
    if (peer != shared.rank)
      missing[count++] = peer;
  return count;
}

// Spins first, as ranks are rarely far apart, then lets others run.
Status HostCommunicator::await(const HostBatch *waited) {
  const uint64_t begun = nowNs(), deadlineNs = uint64_t{1000000} * deadlineMs;
  const Place place = waited ? waited->at() : Place{shared.step, -1, Operation::Shutdown};
  for (uint64_t polled = begun;;) {
    bool done = false;
    MORAY_TRY(advance(waited, done));
    if (done)
      return {};
    const uint64_t now = nowNs();
    if (now - polled >= kPollNs) {
      uint32_t missing[kMostMissing];
      const uint32_t count = listMissing(waited, missing);
      const Waiting waiting = {place, {missing, count}, begun};
      polled = now;
      if (watch)
        MORAY_TRY(watch->poll(waiting));
      if (count != 0 && now - begun >= deadlineNs)
        return stalled(waiting);
    }
    if (now - begun >= kYieldNs) {
      const struct timespec pause = {0, 100000};
      nanosleep(&pause, nullptr);
    } else if (now - begun >= kSpinNs) {
      sched_yield();
    }
  }
}

Status HostCommunicator::stalled(const Waiting &waiting) const {
  if (watch)
    return watch->stalled(waiting);
  std::string names;
  for (uint32_t peer : waiting.missing)
    names += (names.empty() ? "" : ", ") + std::to_string(peer);
  const Place &place = waiting.place;
  return fail(kE5107, "rank %u waited %u ms for rank %s in %s of layer %d, step %" PRIu64 "; look there for the cause",
              shared.rank, deadlineMs, names.c_str(), nameOf(place.operation), place.layer, place.step);
}

} // namespace

Status makeHostCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                            std::unique_ptr<Transport> transport, std::unique_ptr<Communicator> &communicator) {
  if (placement.ranks() != options.ranks || options.rank >= options.ranks)
    return fail(kE5112, "the placement is for %u ranks, but this is rank %u of %u; make a placement for this number",
                placement.ranks(), options.rank, options.ranks);
  communicator = std::make_unique<HostCommunicator>(options, placement, watch, std::move(transport));
  return {};
}

} // namespace moray::rt::comm
