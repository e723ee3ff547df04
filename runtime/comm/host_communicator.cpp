// Dispatch and combine over host memory: headers first, then rows, then results, each by one exchange of a transport.
#include "runtime/comm/host_communicator.h"
#include "runtime/base/clock.h"
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <mutex>
#include <sched.h>
#include <string>
#include <time.h>

namespace moray::rt::comm {

const char *nameOf(Operation operation) {
  static const char *const names[kOperations] = {"load", "agreement", "dispatch", "combine", "shutdown"};
  return names[static_cast<uint32_t>(operation)];
}

namespace {

constexpr uint32_t kMagic = 0x4844524d; // "MRDH"
constexpr uint64_t kSpinNs = 20000, kYieldNs = 10000000, kPollNs = 1000000;
constexpr uint32_t kMostMissing = 8; // named in messages

// What a rank tells another before rows follow; then uint32 counts of slots, one per expert of the receiver.
struct Header {
  uint32_t magic;
  int32_t layer;
  uint64_t step;
  uint64_t rows;
  uint32_t rowBytes;
  uint32_t experts; // number of counts
};

// Memory that grows, for what is packed and unpacked.
class Staging {
public:
  Status need(uint64_t bytes, uint8_t *&data) {
    if (bytes > memory.size()) {
      Mapping larger;
      if (!allocatePages(alignUp(std::max<uint64_t>(bytes, 2 * memory.size()), 4096), larger))
        return fail(kE5001, "no memory for %" PRIu64 " bytes of rows between ranks; use fewer rows per step", bytes);
      memory = std::move(larger);
    }
    data = memory.data();
    return {};
  }
  // A transport that was abandoned may still use it: kept to the end of the process.
  void keep() {
    static std::mutex mutex;
    static std::vector<Mapping> &kept = *new std::vector<Mapping>;
    const std::lock_guard<std::mutex> lock(mutex);
    kept.push_back(std::move(memory));
  }

private:
  Mapping memory;
};

class HostCommunicator final : public Communicator {
public:
  HostCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                   std::unique_ptr<Transport> transport)
      : options(options), placement(placement), watch(watch), transport(std::move(transport)) {}
  ~HostCommunicator() override {
    if (transport && state != State::Closed && state != State::Failed)
      transport->abandon(); // nothing is in flight between collectives
  }

  uint32_t rank() const override { return options.rank; }
  uint32_t ranks() const override { return options.ranks; }
  void beginStep(uint64_t step) override { place.step = step; }
  const Counters &counters() const override { return counted; }
  void setPlacement(const ModelPlacement &next) override { placement = next; }

  Status startDispatch(uint32_t batch, const DispatchArgs &args) override {
    dispatches[batch] = args;
    if (args.gates)
      gates[batch].assign(args.gates, args.gates + args.offsets[placement.experts()]);
    starts[batch] = Operation::Dispatch;
    return {};
  }
  Status startCombine(uint32_t batch, const CombineArgs &args) override {
    combines[batch] = args;
    if (args.gatesOut && dispatches[batch].gates)
      std::copy(gates[batch].begin(), gates[batch].end(), args.gatesOut);
    starts[batch] = Operation::Combine;
    return {};
  }
  Status wait(uint32_t batch) override {
    if (starts[batch] == Operation::Dispatch) {
      MORAY_TRY(enter(Operation::Dispatch, dispatches[batch].layer, State::Ready));
      return leave(dispatchRows(dispatches[batch]), State::Dispatched);
    }
    MORAY_TRY(enter(Operation::Combine, combines[batch].layer, State::Dispatched));
    return leave(combineRows(combines[batch]), State::Ready);
  }
  Status progress() override { return {}; }
  Status close() override {
    MORAY_TRY(enter(Operation::Shutdown, -1, State::Ready));
    return leave(transport ? await(&Transport::close) : Status(), State::Closed);
  }

private:
  enum class State { Ready, Dispatched, Closed, Failed };

  Status enter(Operation operation, int32_t layer, State wanted);
  Status leave(Status status, State next);
  void giveUp();

  Status dispatchRows(const DispatchArgs &args);
  Status exchangeHeaders(const DispatchArgs &args);
  Status readHeader(const DispatchArgs &args, uint32_t source, const uint8_t *bytes);
  Status combineRows(const CombineArgs &args);

  // Queue a piece of the next exchange, unless it is empty or to this rank itself.
  void send(uint32_t peer, const void *data, uint64_t bytes);
  void receive(uint32_t peer, void *data, uint64_t bytes);
  Status exchange();
  Status await(Status (Transport::*advance)(bool &done));
  uint32_t listMissing(uint32_t (&missing)[kMostMissing]) const;
  Status stalled(const Waiting &waiting) const;

  const CommunicatorOptions options;
  const Placement &here() const { return placement.layer(place.layer); }

  ModelPlacement placement;
  Watch *const watch;
  const std::unique_ptr<Transport> transport;
  State state = State::Ready;
  DispatchArgs dispatches[kMicroBatches];
  CombineArgs combines[kMicroBatches];
  std::vector<float> gates[kMicroBatches];
  Operation starts[kMicroBatches] = {};
  Place place;
  Counters counted;
  uint32_t sequence = 0;
  uint64_t startNs = 0; // of the collective
  SendPlan sendPlan;
  ReceivePlan receivePlan;
  std::vector<uint64_t> rowsFrom;
  std::vector<int32_t> slotRows; // of all sources, at receivePlan.slotBegin
  std::vector<Piece> sends, receives;
  Staging outgoing, incoming;
};

Status HostCommunicator::enter(Operation operation, int32_t layer, State wanted) {
  if (state == State::Failed || state == State::Closed)
    return fail(kE5114, "the group of ranks has %s; start again", state == State::Failed ? "failed before" : "ended");
  if (state != wanted) {
    Status broken =
        fail(kE5108, "%s in layer %d follows %s: dispatch and combine must alternate; compile the model again",
             nameOf(operation), layer, state == State::Ready ? "no dispatch" : "a dispatch");
    return leave(std::move(broken), state);
  }
  place.operation = operation;
  place.layer = layer;
  startNs = nowNs();
  return {};
}

Status HostCommunicator::leave(Status status, State next) {
  counted.waitNs += nowNs() - startNs;
  ++counted.collectives;
  state = next;
  if (!status.ok()) {
    giveUp();
    state = State::Failed;
  }
  return status;
}

void HostCommunicator::giveUp() {
  if (!transport)
    return;
  transport->abandon();
  outgoing.keep();
  incoming.keep();
}

void HostCommunicator::send(uint32_t peer, const void *data, uint64_t bytes) {
  if (bytes == 0 || peer == options.rank)
    return;
  sends.push_back({peer, static_cast<uint8_t *>(const_cast<void *>(data)), bytes});
  counted.bytesSent += bytes;
}

void HostCommunicator::receive(uint32_t peer, void *data, uint64_t bytes) {
  if (bytes != 0 && peer != options.rank)
    receives.push_back({peer, static_cast<uint8_t *>(data), bytes});
}

Status HostCommunicator::exchange() {
  Status status;
  ++sequence;
  if (!sends.empty() || !receives.empty()) {
    status = transport->begin({sends.data(), sends.size()}, {receives.data(), receives.size()}, sequence);
    if (status.ok())
      status = await(&Transport::progress);
  }
  sends.clear();
  receives.clear();
  return status;
}

// At the end anybody may be missing: a barrier does not say who.
uint32_t HostCommunicator::listMissing(uint32_t (&missing)[kMostMissing]) const {
  if (place.operation != Operation::Shutdown)
    return transport->missing(missing, kMostMissing);
  uint32_t count = 0;
  for (uint32_t peer = 0; peer < options.ranks && count < kMostMissing; ++peer)
    if (peer != options.rank)
      missing[count++] = peer;
  return count;
}

// Spins first, as ranks are rarely far apart, then lets others run.
Status HostCommunicator::await(Status (Transport::*advance)(bool &done)) {
  uint64_t polled = nowNs();
  const uint64_t begun = polled, deadlineNs = uint64_t{1000000} * options.deadlineMs;
  for (;;) {
    bool done = false;
    MORAY_TRY((*transport.*advance)(done));
    if (done)
      return {};
    const uint64_t now = nowNs();
    if (now - polled >= kPollNs) {
      uint32_t missing[kMostMissing];
      const uint32_t count = listMissing(missing);
      const Waiting waiting = {place, {missing, count}, startNs};
      polled = now;
      if (watch)
        MORAY_TRY(watch->poll(waiting));
      if (count != 0 && now - startNs >= deadlineNs)
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
  return fail(kE5107, "rank %u waited %u ms for rank %s in %s of layer %d, step %" PRIu64 "; look there for the cause",
              options.rank, options.deadlineMs, names.c_str(), nameOf(place.operation), place.layer, place.step);
}

Status HostCommunicator::readHeader(const DispatchArgs &args, uint32_t source, const uint8_t *bytes) {
  const size_t residents = here().expertsOn(options.rank).size();
  Header header;
  memcpy(&header, bytes, sizeof(header));
  if (header.magic != kMagic || header.experts != residents)
    return fail(kE5113, "rank %u sent no header of a dispatch, or counts for %u experts where %zu live here", source,
                header.experts, residents);
  if (header.step != place.step || header.layer != place.layer || header.rowBytes != args.rowBytes)
    return fail(
        kE5108,
        "rank %u dispatches rows of %u bytes in layer %d of step %" PRIu64 ", rank %u rows of %u bytes in layer %d "
        "of step %" PRIu64 "; all ranks must run the same step of the same artifact",
        source, header.rowBytes, header.layer, header.step, options.rank, args.rowBytes, place.layer, place.step);
  rowsFrom[source] = header.rows;
  if (residents != 0)
    memcpy(&receivePlan.counts[source * residents], bytes + sizeof(header), residents * sizeof(uint32_t));
  return {};
}

Status HostCommunicator::exchangeHeaders(const DispatchArgs &args) {
  const uint32_t ranks = options.ranks;
  const size_t residents = here().expertsOn(options.rank).size();
  const uint64_t inBytes = sizeof(Header) + residents * sizeof(uint32_t);
  uint8_t *out = nullptr, *in = nullptr;
  MORAY_TRY(outgoing.need(ranks * sizeof(Header) + sendPlan.counts.size() * sizeof(uint32_t), out));
  MORAY_TRY(incoming.need(ranks * inBytes, in));
  uint8_t *mine = out;
  for (uint32_t peer = 0; peer < ranks; ++peer) {
    const uint32_t experts = sendPlan.countBegin[peer + 1] - sendPlan.countBegin[peer];
    const Header header = {
        kMagic, place.layer, place.step, sendPlan.rowBegin[peer + 1] - sendPlan.rowBegin[peer], args.rowBytes, experts};
    const uint64_t bytes = sizeof(Header) + experts * sizeof(uint32_t);
    memcpy(out, &header, sizeof(header));
    memcpy(out + sizeof(header), sendPlan.counts.data() + sendPlan.countBegin[peer], bytes - sizeof(header));
    send(peer, out, bytes);
    receive(peer, in + peer * inBytes, inBytes);
    if (peer == options.rank)
      mine = out;
    out += bytes;
  }
  MORAY_TRY(exchange());
  rowsFrom.resize(ranks);
  receivePlan.counts.resize(ranks * residents);
  for (uint32_t peer = 0; peer < ranks; ++peer)
    MORAY_TRY(readHeader(args, peer, peer == options.rank ? mine : in + peer * inBytes));
  return {};
}

Status HostCommunicator::dispatchRows(const DispatchArgs &args) {
  const uint32_t ranks = options.ranks, self = options.rank;
  MORAY_TRY(planSend(here(), self, args.rows, args.tokens, args.offsets, sendPlan));
  MORAY_TRY(exchangeHeaders(args));
  MORAY_TRY(planReceive(here(), self, {rowsFrom.data(), ranks}, {args.xrRows, args.tokensRCount}, receivePlan));
  uint8_t *out = nullptr;
  MORAY_TRY(outgoing.need(sendPlan.rows.size() * args.rowBytes, out));
  slotRows.resize(receivePlan.slotBegin[ranks]);
  auto *xr = static_cast<uint8_t *>(args.xr);
  for (uint32_t peer = 0; peer < ranks; ++peer) {
    const uint64_t rows = sendPlan.rowBegin[peer + 1] - sendPlan.rowBegin[peer];
    const uint64_t slots = sendPlan.slotBegin[peer + 1] - sendPlan.slotBegin[peer];
    uint8_t *destination = xr + receivePlan.rowBegin[peer] * args.rowBytes;
    const int32_t *indices = sendPlan.slotRows.data() + sendPlan.slotBegin[peer];
    int32_t *arriving = slotRows.data() + receivePlan.slotBegin[peer];
    if (peer == self) {
      packRows(sendPlan, peer, static_cast<const uint8_t *>(args.x), args.rowBytes, destination);
      std::copy(indices, indices + slots, arriving);
      continue;
    }
    packRows(sendPlan, peer, static_cast<const uint8_t *>(args.x), args.rowBytes, out);
    send(peer, indices, slots * sizeof(int32_t));
    send(peer, out, rows * args.rowBytes);
    receive(peer, arriving, (receivePlan.slotBegin[peer + 1] - receivePlan.slotBegin[peer]) * sizeof(int32_t));
    receive(peer, destination, rowsFrom[peer] * args.rowBytes);
    out += rows * args.rowBytes;
    counted.rowsSent += rows;
    counted.rowsReceived += rowsFrom[peer];
  }
  MORAY_TRY(exchange());
  return mergeSlots(here(), self, slotRows.data(), receivePlan, args.tokensR, args.offsetsR);
}

Status HostCommunicator::combineRows(const CombineArgs &args) {
  const uint32_t ranks = options.ranks, self = options.rank;
  const uint64_t received = receivePlan.slotBegin[ranks], sent = sendPlan.slotBegin[ranks];
  if (args.erRows < received || args.eRows < sent)
    return fail(kE5013,
                "combine in layer %d has %" PRIu64 " results and room for %" PRIu64 " where %" PRIu64 " and %" PRIu64
                " are needed; compile the model again",
                args.layer, args.erRows, args.eRows, received, sent);
  uint8_t *out = nullptr, *in = nullptr;
  MORAY_TRY(outgoing.need(received * args.rowBytes, out));
  MORAY_TRY(incoming.need(sent * args.rowBytes, in));
  packResults(here(), self, static_cast<const uint8_t *>(args.er), args.rowBytes, receivePlan, out);
  for (uint32_t peer = 0; peer < ranks; ++peer) {
    const uint64_t first = receivePlan.slotBegin[peer], slots = receivePlan.slotBegin[peer + 1] - first;
    const uint64_t back = sendPlan.slotBegin[peer], due = sendPlan.slotBegin[peer + 1] - back;
    send(peer, out + first * args.rowBytes, slots * args.rowBytes);
    receive(peer, in + back * args.rowBytes, due * args.rowBytes);
    if (peer != self) {
      counted.rowsSent += slots;
      counted.rowsReceived += due;
    }
  }
  MORAY_TRY(exchange());
  for (uint32_t peer = 0; peer < ranks; ++peer) {
    const uint8_t *results = peer == self ? out + receivePlan.slotBegin[peer] * args.rowBytes
                                          : in + sendPlan.slotBegin[peer] * args.rowBytes;
    unpackResults(sendPlan, peer, results, args.rowBytes, static_cast<uint8_t *>(args.e));
  }
  return {};
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

Status makeSelfCommunicator(const ModelPlacement &placement, std::unique_ptr<Communicator> &communicator) {
  return makeHostCommunicator({}, placement, nullptr, nullptr, communicator);
}

} // namespace moray::rt::comm
