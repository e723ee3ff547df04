// What both collectives of a micro-batch need, and dispatch: headers, rows, and what gateways pass on.
#include "runtime/comm/host_batch.h"
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace moray::rt::comm {

static constexpr uint32_t kMagic = 0x4844524d; // "MRDH"
static constexpr uint64_t kAlign = 64;

// ---- staging memory ----

Status Staging::reserve(uint64_t bytes, uint64_t pieces) {
  used = 0;
  bytes += pieces * kAlign;
  if (bytes <= memory.size())
    return {};
  Mapping larger;
  if (!allocatePages(alignUp(std::max<uint64_t>(bytes, 2 * memory.size()), 4096), larger))
    return fail(kE5001, "no memory for %" PRIu64 " bytes of rows between ranks; use fewer rows per step", bytes);
  memory = std::move(larger);
  return {};
}

uint8_t *Staging::take(uint64_t bytes) {
  uint8_t *piece = memory.data() + used;
  used += alignUp(bytes, kAlign);
  return piece;
}

void Staging::keep() {
  static std::mutex mutex;
  static std::vector<Mapping> &kept = *new std::vector<Mapping>;
  const std::lock_guard<std::mutex> lock(mutex);
  kept.push_back(std::move(memory));
}

// ---- messages ----

void HostBatch::begin(Operation operation, int32_t layer, uint32_t rowBytes, uint32_t scaleBytes) {
  place = {shared.step, layer, operation};
  header = {kMagic,
            ++shared.starts,
            static_cast<uint32_t>(operation),
            index,
            layer,
            rowBytes,
            scaleBytes,
            0,
            place.step,
            0,
            0,
            0};
}

std::string HostBatch::describe(const Header &other) const {
  char text[200];
  const auto operation = static_cast<Operation>(std::min(other.operation, kOperations - 1));
  snprintf(text, sizeof(text),
           "is in %s of rows of %u bytes (%u of scales) in layer %d of step %" PRIu64
           ", micro-batch %u, collective number %u",
           nameOf(operation), other.rowBytes, other.scaleBytes, other.layer, other.step, other.batch, other.start);
  return text;
}

Status HostBatch::check(uint32_t source, const Header &other) const {
  if (other.magic != kMagic)
    return fail(kE5113, "rank %u sent no header of a %s", source, nameOf(place.operation));
  if (other.start == header.start && other.operation == header.operation && other.batch == header.batch &&
      other.layer == header.layer && other.rowBytes == header.rowBytes && other.scaleBytes == header.scaleBytes &&
      other.step == header.step)
    return {};
  return fail(kE5108, "rank %u %s; rank %u %s; all ranks must run the same step of the same artifact", source,
              describe(other).c_str(), shared.rank, describe(header).c_str());
}

bool HostBatch::isGateway(uint32_t rank, uint32_t other) const {
  return shared.nodeOf(rank) != shared.nodeOf(other) && shared.gateway(rank, shared.nodeOf(other)) == other;
}

Span<const uint32_t> HostBatch::rowsTo(uint32_t rank) const {
  return {sendPlan.rows.data() + sendPlan.rowBegin[rank], sendPlan.rowBegin[rank + 1] - sendPlan.rowBegin[rank]};
}

void HostBatch::send(uint32_t peer, const void *data, uint64_t bytes) {
  if (bytes == 0 || peer == shared.rank)
    return;
  sends.push_back({peer, static_cast<uint8_t *>(const_cast<void *>(data)), bytes});
  shared.counted.bytesSent += bytes;
  if (shared.nodeOf(peer) != ownNode())
    shared.counted.bytesBetweenNodes += bytes;
}

void HostBatch::receive(uint32_t peer, void *data, uint64_t bytes) {
  if (bytes != 0 && peer != shared.rank)
    receives.push_back({peer, static_cast<uint8_t *>(data), bytes});
}

void HostBatch::countRows(uint32_t peer, uint64_t sent, uint64_t received) {
  if (peer == shared.rank)
    return;
  shared.counted.rowsSent += sent;
  shared.counted.rowsReceived += received;
  if (shared.nodeOf(peer) != ownNode())
    shared.counted.rowsBetweenNodes += sent;
}

Status HostBatch::post(Lane lane) {
  Status status;
  if (!sends.empty() || !receives.empty()) {
    posted[lane] = true;
    status = shared.transport->post(index * kLanesEach + lane, {sends.data(), sends.size()},
                                    {receives.data(), receives.size()}, header.start * 4 + lane);
  }
  sends.clear();
  receives.clear();
  return status;
}

Status HostBatch::progress() {
  static constexpr Lane lanes[] = {First, First, Second, Third, First, Third}; // by phase
  while (moving()) {
    const Lane lane = lanes[static_cast<size_t>(phase)];
    bool done = true;
    if (posted[lane])
      MORAY_TRY(shared.transport->progress(index * kLanesEach + lane, done));
    if (!done)
      return {};
    posted[lane] = false;
    MORAY_TRY(advance());
  }
  return {};
}

Status HostBatch::advance() {
  switch (phase) {
  case Phase::Headers:
    return receiveRows();
  case Phase::Rows:
    return forwardRows();
  case Phase::Forward:
    return finishDispatch();
  case Phase::Results:
    return finishResults();
  default:
    return finishNodeSums();
  }
}

uint32_t HostBatch::missing(uint32_t *peers, uint32_t capacity) {
  uint32_t count = 0;
  for (uint32_t lane = 0; lane < kLanesEach && count == 0; ++lane)
    if (posted[lane])
      count = shared.transport->missing(index * kLanesEach + lane, peers, capacity);
  return count;
}

void HostBatch::keepMemory() {
  outgoing.keep();
  incoming.keep();
  lists.keep();
}

// ---- dispatch ----

Status HostBatch::startDispatch(const DispatchArgs &args) {
  begin(Operation::Dispatch, args.layer, args.rowBytes, args.scaleBytes);
  dispatch = args;
  placement = &shared.placement.layer(args.layer);
  const bool weighted = shared.combine != CombineMode::Exact;
  if (weighted && !args.gates)
    return fail(kE5013, "dispatch in layer %d has no gates, which sums of ranks need; compile the model again",
                args.layer);
  MORAY_TRY(planSend(*placement, shared.rank, args.rows, args.tokens, args.offsets, weighted ? args.gates : nullptr,
                     sendPlan));
  if (placement->nodes() > 1 || shared.combine == CombineMode::NodeSum)
    planNodes(*placement, args.rows, sendPlan);
  const uint64_t slots = sendPlan.homeSlots.size();
  gates.assign(args.gates, args.gates + (args.gates && !weighted ? slots : 0));
  payloads[0] = {static_cast<const uint8_t *>(args.x), static_cast<uint8_t *>(args.xr), args.rowBytes};
  payloads[1] = {static_cast<const uint8_t *>(args.scales), static_cast<uint8_t *>(args.scalesR), args.scaleBytes};

  uint64_t headersOut = 0, headersIn = 0;
  for (uint32_t peer = 0; peer < shared.ranks; ++peer) {
    headersOut += headerBytes(shared.rank, peer);
    headersIn += headerBytes(peer, shared.rank);
  }
  const uint64_t perRow = sizeof(uint32_t) + args.rowBytes + args.scaleBytes;
  const uint64_t away = sendPlan.rows.size() - rowsTo(shared.rank).size();
  MORAY_TRY(outgoing.reserve(headersOut + slots * sendPlan.words * sizeof(int32_t) + away * perRow, 7 * shared.ranks));
  MORAY_TRY(incoming.reserve(headersIn, shared.ranks));
  sendHeaders();
  MORAY_TRY(post(First));
  sendRows();
  MORAY_TRY(post(Second)); // its receives follow as soon as headers say how much
  phase = Phase::Headers;
  return {};
}

// A header, slots of each expert of the destination; to a gateway also the rows for each rank of its node.
uint64_t HostBatch::headerBytes(uint32_t source, uint32_t destination) const {
  return sizeof(Header) + sizeof(uint32_t) * (placement->expertsOn(destination).size() +
                                              (isGateway(source, destination) ? shared.perNode() : 0));
}

void HostBatch::sendHeaders() {
  heads.resize(shared.ranks);
  for (uint32_t peer = 0; peer < shared.ranks; ++peer) {
    const uint64_t bytes = headerBytes(shared.rank, peer), bytesIn = headerBytes(peer, shared.rank);
    uint8_t *out = outgoing.take(bytes), *in = incoming.take(bytesIn);
    const uint32_t node = shared.nodeOf(peer), experts = sendPlan.countBegin[peer + 1] - sendPlan.countBegin[peer];
    const bool gateway = isGateway(shared.rank, peer);
    Header head = header;
    head.experts = experts;
    head.rows = rowsTo(peer).size();
    head.nodeRows = gateway ? sendPlan.nodeBegin[node + 1] - sendPlan.nodeBegin[node] : 0;
    memcpy(out, &head, sizeof(head));
    uint32_t *counts = reinterpret_cast<uint32_t *>(out + sizeof(head));
    counts = std::copy_n(sendPlan.counts.data() + sendPlan.countBegin[peer], experts, counts);
    for (uint32_t i = 0; gateway && i < shared.perNode(); ++i)
      *counts++ = static_cast<uint32_t>(rowsTo(node * shared.perNode() + i).size());
    send(peer, out, bytes);
    receive(peer, in, bytesIn);
    heads[peer] = peer == shared.rank ? out : in;
  }
}

void HostBatch::sendPacked(uint32_t peer, Span<const uint32_t> rows, const uint8_t *from, uint64_t rowBytes) {
  uint8_t *out = outgoing.take(rows.size() * rowBytes);
  if (rowBytes != 0)
    packRows(rows, from, rowBytes, out);
  send(peer, out, rows.size() * rowBytes);
}

void HostBatch::sendRows() {
  for (uint32_t peer = 0; peer < shared.ranks; ++peer) {
    const uint64_t numbers = sendPlan.words * (sendPlan.slotBegin[peer + 1] - sendPlan.slotBegin[peer]);
    if (peer == shared.rank)
      continue;
    auto *out = reinterpret_cast<int32_t *>(outgoing.take(numbers * sizeof(int32_t)));
    std::copy_n(sendPlan.slotRows.data() + sendPlan.words * sendPlan.slotBegin[peer], numbers, out);
    send(peer, out, numbers * sizeof(int32_t));
    if (shared.nodeOf(peer) == ownNode()) {
      for (const Payload &payload : payloads)
        sendPacked(peer, rowsTo(peer), payload.from, payload.bytes);
      countRows(peer, rowsTo(peer).size(), 0);
    } else if (isGateway(shared.rank, peer)) {
      const uint32_t node = shared.nodeOf(peer), first = node * shared.perNode();
      const uint64_t begin = sendPlan.rowBegin[first], listed = sendPlan.rowBegin[first + shared.perNode()] - begin;
      const Span<const uint32_t> rows = {sendPlan.nodeRows.data() + sendPlan.nodeBegin[node],
                                         sendPlan.nodeBegin[node + 1] - sendPlan.nodeBegin[node]};
      auto *indices = reinterpret_cast<uint32_t *>(outgoing.take(listed * sizeof(uint32_t)));
      std::copy_n(sendPlan.indexInNode.data() + begin, listed, indices);
      send(peer, indices, listed * sizeof(uint32_t));
      for (const Payload &payload : payloads)
        sendPacked(peer, rows, payload.from, payload.bytes);
      countRows(peer, rows.size(), 0);
    }
  }
}

Status HostBatch::readHeaders() {
  const size_t residents = placement->expertsOn(shared.rank).size();
  rowsFrom.resize(shared.ranks);
  receivePlan.words = sendPlan.words;
  receivePlan.counts.resize(shared.ranks * residents);
  for (uint32_t source = 0; source < shared.ranks; ++source) {
    Header head;
    memcpy(&head, heads[source], sizeof(head));
    MORAY_TRY(check(source, head));
    if (head.experts != residents)
      return fail(kE5113, "rank %u sent counts of %u experts to rank %u, which has %zu", source, head.experts,
                  shared.rank, residents);
    rowsFrom[source] = head.rows;
    std::copy_n(reinterpret_cast<const uint32_t *>(heads[source] + sizeof(head)), residents,
                receivePlan.counts.data() + source * residents);
  }
  return planReceive(*placement, shared.rank, {rowsFrom.data(), shared.ranks}, {dispatch.xrRows, dispatch.tokensRCount},
                     receivePlan);
}

// What this rank has to do with rows of the homes of its own index; lists and payloads are still to come.
void HostBatch::readRelays() {
  const uint32_t perNode = shared.perNode(), first = ownNode() * perNode;
  const size_t residents = placement->expertsOn(shared.rank).size();
  relays.resize(sendPlan.nodeBegin.empty() ? 0 : placement->nodes());
  for (uint32_t node = 0; node < relays.size(); ++node) {
    Relay &relay = relays[node];
    relay.home = shared.gateway(shared.rank, node);
    Header head;
    memcpy(&head, heads[relay.home], sizeof(head));
    const auto *counts = reinterpret_cast<const uint32_t *>(heads[relay.home] + sizeof(head)) + residents;
    const bool own = relay.home == shared.rank;
    relay.rows = own ? sendPlan.nodeBegin[node + 1] - sendPlan.nodeBegin[node] : head.nodeRows;
    relay.lists = sendPlan.indexInNode.data() + sendPlan.rowBegin[first];
    relay.begin.assign(1, 0);
    for (uint32_t i = 0; i < perNode; ++i)
      relay.begin.push_back(relay.begin.back() + (own ? rowsTo(first + i).size() : counts[i]));
  }
}

Status HostBatch::receiveRows() {
  MORAY_TRY(readHeaders());
  readRelays();
  const uint64_t slots = receivePlan.words * receivePlan.slotBegin[shared.ranks];
  const uint32_t self = shared.rank;
  uint64_t listed = 0, rows = 0;
  for (const Relay &relay : relays) {
    const uint32_t place = self % shared.perNode();
    if (relay.rows > relay.begin.back() || relay.rows > dispatch.xrRows ||
        relay.begin[place + 1] - relay.begin[place] != rowsFrom[relay.home])
      return fail(kE5113,
                  "rank %u announces %" PRIu64 " rows for a node that needs %" PRIu64 ", rank %u among it %" PRIu64,
                  relay.home, relay.rows, relay.begin.back(), self, rowsFrom[relay.home]);
    listed += relay.begin.back();
    rows += relay.rows;
  }
  MORAY_TRY(lists.reserve((slots + listed) * sizeof(int32_t), 1 + relays.size()));
  MORAY_TRY(incoming.reserve(rows * (payloads[0].bytes + payloads[1].bytes), 1 + 2 * relays.size()));
  slotRows = reinterpret_cast<int32_t *>(lists.take(slots * sizeof(int32_t)));
  for (uint32_t source = 0; source < shared.ranks; ++source) {
    const uint64_t begin = receivePlan.words * receivePlan.slotBegin[source];
    const uint64_t numbers = receivePlan.words * receivePlan.slotBegin[source + 1] - begin;
    if (source == self)
      std::copy_n(sendPlan.slotRows.data() + sendPlan.words * sendPlan.slotBegin[self], numbers, slotRows + begin);
    receive(source, slotRows + begin, numbers * sizeof(int32_t));
    for (const Payload &payload : payloads)
      if (shared.nodeOf(source) == ownNode())
        receive(source, payload.to + receivePlan.rowBegin[source] * payload.bytes, rowsFrom[source] * payload.bytes);
  }
  for (Relay &relay : relays)
    if (relay.home != self) {
      auto *indices = reinterpret_cast<uint32_t *>(lists.take(relay.begin.back() * sizeof(uint32_t)));
      relay.lists = indices;
      countRows(relay.home, 0, relay.rows);
      receive(relay.home, indices, relay.begin.back() * sizeof(uint32_t));
      for (size_t i = 0; i < 2; ++i) {
        uint8_t *in = incoming.take(relay.rows * payloads[i].bytes);
        relay.payload[i] = in;
        receive(relay.home, in, relay.rows * payloads[i].bytes);
      }
    }
  MORAY_TRY(post(Second));
  for (uint32_t source = 0; source < shared.ranks; ++source) {
    const uint32_t from = shared.nodeOf(source) == ownNode() ? source : shared.gateway(source, ownNode());
    countRows(from, 0, rowsFrom[source]);
    for (const Payload &payload : payloads)
      if (from != source)
        receive(from, payload.to + receivePlan.rowBegin[source] * payload.bytes, rowsFrom[source] * payload.bytes);
  }
  MORAY_TRY(post(Third));
  for (const Payload &payload : payloads)
    if (payload.bytes != 0)
      packRows(rowsTo(self), payload.from, payload.bytes, payload.to + receivePlan.rowBegin[self] * payload.bytes);
  phase = Phase::Rows;
  return {};
}

// Rows of other nodes go to the ranks of this node that need them.
Status HostBatch::forwardRows() {
  phase = Phase::Forward;
  uint64_t listed = 0;
  for (const Relay &relay : relays) {
    for (uint64_t i = 0; i < relay.begin.back(); ++i)
      if (relay.lists[i] >= relay.rows)
        return fail(kE5113, "rank %u wants row %u passed on, but sent %" PRIu64 " rows", relay.home, relay.lists[i],
                    relay.rows);
    listed += relay.home == shared.rank ? 0 : relay.begin.back();
  }
  if (listed == 0)
    return {};
  MORAY_TRY(outgoing.reserve(listed * (payloads[0].bytes + payloads[1].bytes), 2 * shared.ranks));
  for (const Relay &relay : relays)
    for (uint32_t i = 0; relay.home != shared.rank && i < shared.perNode(); ++i) {
      const uint32_t peer = ownNode() * shared.perNode() + i;
      const Span<const uint32_t> rows = {relay.lists + relay.begin[i], relay.begin[i + 1] - relay.begin[i]};
      countRows(peer, rows.size(), 0);
      for (size_t p = 0; p < 2; ++p) {
        const Payload &payload = payloads[p];
        if (peer != shared.rank)
          sendPacked(peer, rows, relay.payload[p], payload.bytes);
        else if (payload.bytes != 0)
          packRows(rows, relay.payload[p], payload.bytes,
                   payload.to + receivePlan.rowBegin[relay.home] * payload.bytes);
      }
    }
  return post(Third);
}

Status HostBatch::finishDispatch() {
  phase = Phase::Idle;
  handle = true;
  return mergeSlots(*placement, shared.rank, slotRows, receivePlan, dispatch.tokensR, dispatch.offsetsR);
}

} // namespace moray::rt::comm
