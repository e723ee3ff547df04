// Combine of a micro-batch: results one by one, or sums of ranks and nodes.
#include "artifact_generated.h"
#include "runtime/comm/host_batch.h"
#include <algorithm>
#include <cinttypes>
#include <cstring>

namespace moray::rt::comm {

Status HostBatch::startCombine(const CombineArgs &args) {
  begin(Operation::Combine, args.layer, args.rowBytes, 0);
  combine = args;
  handle = false;
  MORAY_TRY(checkCombine());
  MORAY_TRY(reserveBlocks());
  if (shared.combine == CombineMode::Exact)
    startResults();
  else
    startSums();
  phase = Phase::Results;
  return post(First);
}

Status HostBatch::checkCombine() const {
  const uint64_t received = receivePlan.slotBegin[shared.ranks], sent = sendPlan.slotBegin[shared.ranks];
  if (combine.erRows < received || combine.eRows < sent)
    return fail(kE5013,
                "combine in layer %d has %" PRIu64 " results and room for %" PRIu64 " where %" PRIu64 " and %" PRIu64
                " are needed; compile the model again",
                combine.layer, combine.erRows, combine.eRows, received, sent);
  const bool f32 = combine.type == schema::DType::F32;
  if (shared.combine != CombineMode::Exact &&
      (!combine.gatesOut || (!f32 && combine.type != schema::DType::BF16) || combine.rowBytes % (f32 ? 4 : 2) != 0))
    return fail(kE5013, "combine in layer %d cannot sum rows of %u bytes of type %u%s; compile the model again",
                combine.layer, combine.rowBytes, static_cast<unsigned>(combine.type),
                combine.gatesOut ? "" : " without a place for gates");
  return {};
}

// Enough for all blocks of this combine.
Status HostBatch::reserveBlocks() {
  const bool exact = shared.combine == CombineMode::Exact;
  uint64_t out = exact ? receivePlan.slotBegin[shared.ranks] : receivePlan.rowBegin[shared.ranks];
  uint64_t in = exact ? sendPlan.slotBegin[shared.ranks] : sendPlan.rows.size();
  for (const Relay &relay : relays) {
    out += relay.rows;
    in += relay.begin.back();
  }
  blocks.clear();
  leaving.assign(shared.ranks, nullptr);
  arrived.assign(shared.ranks, nullptr);
  const uint64_t most = 2 * uint64_t{shared.ranks};
  MORAY_TRY(outgoing.reserve(out * combine.rowBytes + most * sizeof(Header), most));
  return incoming.reserve(in * combine.rowBytes + most * sizeof(Header), most);
}

// Rows behind a header, to be filled before they are posted; without rows there is no message.
uint8_t *HostBatch::sendBlock(uint32_t peer, uint64_t rows) {
  const uint64_t bytes = sizeof(Header) + rows * combine.rowBytes;
  uint8_t *block = outgoing.take(bytes);
  memcpy(block, &header, sizeof(header));
  send(peer, block, rows == 0 ? 0 : bytes);
  countRows(peer, rows, 0);
  return block + sizeof(header);
}

const uint8_t *HostBatch::receiveBlock(uint32_t peer, uint64_t rows) {
  const uint64_t bytes = sizeof(Header) + rows * combine.rowBytes;
  uint8_t *block = incoming.take(bytes);
  receive(peer, block, rows == 0 ? 0 : bytes);
  countRows(peer, 0, rows);
  if (rows != 0 && peer != shared.rank)
    blocks.push_back({peer, block});
  return block + sizeof(Header);
}

Status HostBatch::checkBlocks() {
  for (const Block &block : blocks) {
    Header head;
    memcpy(&head, block.header, sizeof(head));
    MORAY_TRY(check(block.peer, head));
  }
  blocks.clear();
  return {};
}

void HostBatch::startResults() {
  for (uint32_t peer = 0; peer < shared.ranks; ++peer)
    if (peer != shared.rank) {
      leaving[peer] = sendBlock(peer, receivePlan.slotBegin[peer + 1] - receivePlan.slotBegin[peer]);
      arrived[peer] = receiveBlock(peer, sendPlan.slotBegin[peer + 1] - sendPlan.slotBegin[peer]);
    }
  packResults(*placement, shared.rank, static_cast<const uint8_t *>(combine.er), combine.rowBytes, receivePlan,
              sendPlan, leaving.data(), static_cast<uint8_t *>(combine.e));
  if (combine.gatesOut)
    std::copy(gates.begin(), gates.end(), combine.gatesOut);
}

// One sum for each received row: to its home, or to the rank of this node that adds them.
void HostBatch::startSums() {
  const bool byNode = shared.combine == CombineMode::NodeSum;
  listResults(*placement, shared.rank, static_cast<const uint8_t *>(combine.er), combine.rowBytes, slotRows,
              receivePlan, sums);
  for (uint32_t source = 0; source < shared.ranks; ++source) {
    leaving[source] = sendBlock(byNode ? shared.gateway(source, ownNode()) : source, rowsFrom[source]);
    for (uint64_t row = 0; row < rowsFrom[source]; ++row)
      sumRows(sums, receivePlan.rowBegin[source] + row, combine.type, combine.rowBytes,
              leaving[source] + row * combine.rowBytes);
  }
  for (uint32_t peer = 0; peer < shared.ranks && !byNode; ++peer)
    arrived[peer] = peer == shared.rank ? leaving[peer] : receiveBlock(peer, rowsTo(peer).size());
  for (uint32_t i = 0; i < shared.perNode() && byNode; ++i)
    for (uint32_t node = 0; node < relays.size(); ++node) {
      const Relay &relay = relays[node];
      const uint32_t peer = ownNode() * shared.perNode() + i;
      arrived[i * relays.size() + node] =
          peer == shared.rank ? leaving[relay.home] : receiveBlock(peer, relay.begin[i + 1] - relay.begin[i]);
    }
}

Status HostBatch::finishResults() {
  MORAY_TRY(checkBlocks());
  if (shared.combine == CombineMode::NodeSum)
    return returnNodeSums();
  phase = Phase::Idle;
  if (shared.combine == CombineMode::Exact) {
    for (uint32_t peer = 0; peer < shared.ranks; ++peer)
      if (peer != shared.rank)
        unpackResults(sendPlan, peer, arrived[peer], combine.rowBytes, static_cast<uint8_t *>(combine.e));
    return {};
  }
  filled.assign(dispatch.rows, 0);
  for (uint32_t peer = 0; peer < shared.ranks; ++peer)
    placeSums(rowsTo(peer), arrived[peer]);
  clearSlots();
  return {};
}

// For each row of a home in `node` its rank sums in this node.
void HostBatch::listNode(uint32_t node) {
  const Relay &relay = relays[node];
  sums.begin(relay.rows);
  for (uint64_t i = 0; i < relay.begin.back(); ++i)
    sums.count(relay.lists[i]);
  sums.open();
  for (uint32_t i = 0; i < shared.perNode(); ++i)
    for (uint64_t at = relay.begin[i]; at < relay.begin[i + 1]; ++at)
      sums.add(relay.lists[at], arrived[i * relays.size() + node] + (at - relay.begin[i]) * combine.rowBytes, 1);
}

Status HostBatch::returnNodeSums() {
  phase = Phase::Sums;
  fromNodes.assign(relays.size(), nullptr);
  for (uint32_t node = 0; node < relays.size(); ++node) {
    const Relay &relay = relays[node];
    if (node == ownNode())
      continue;
    fromNodes[node] = receiveBlock(relay.home, sendPlan.nodeBegin[node + 1] - sendPlan.nodeBegin[node]);
    uint8_t *out = sendBlock(relay.home, relay.rows);
    listNode(node);
    for (uint64_t row = 0; row < relay.rows; ++row)
      sumRows(sums, row, combine.type, combine.rowBytes, out + row * combine.rowBytes);
  }
  return post(Third);
}

Status HostBatch::finishNodeSums() {
  phase = Phase::Idle;
  MORAY_TRY(checkBlocks());
  filled.assign(dispatch.rows, 0);
  for (uint32_t node = 0; node < relays.size(); ++node) {
    const uint64_t begin = sendPlan.nodeBegin[node], count = sendPlan.nodeBegin[node + 1] - begin;
    const uint32_t *rows = sendPlan.nodeRows.data() + begin;
    if (node != ownNode()) {
      placeSums({rows, count}, fromNodes[node]);
      continue;
    }
    listNode(node);
    for (uint64_t i = 0; i < count; ++i)
      sumRows(sums, i, combine.type, combine.rowBytes, nextSlot(rows[i]));
  }
  clearSlots();
  return {};
}

// Where the next sum of a row belongs; it has gate 1.
uint8_t *HostBatch::nextSlot(uint32_t row) {
  const uint64_t at = uint64_t{row} * sendPlan.slotsPerRow + filled[row]++;
  combine.gatesOut[at] = 1;
  return static_cast<uint8_t *>(combine.e) + uint64_t{sendPlan.slotOf[at]} * combine.rowBytes;
}

void HostBatch::placeSums(Span<const uint32_t> rows, const uint8_t *from) {
  for (uint32_t row : rows) {
    memcpy(nextSlot(row), from, combine.rowBytes);
    from += combine.rowBytes;
  }
}

// Slots that have got no sum.
void HostBatch::clearSlots() {
  for (uint32_t row = 0; row < dispatch.rows; ++row)
    while (filled[row] < sendPlan.slotsPerRow) {
      memset(nextSlot(row), 0, combine.rowBytes);
      combine.gatesOut[uint64_t{row} * sendPlan.slotsPerRow + filled[row] - 1] = 0;
    }
}

} // namespace moray::rt::comm
