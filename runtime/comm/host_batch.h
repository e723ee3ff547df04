// One micro-batch of the host communicator: a dispatch or combine in flight, moved on as messages arrive.
//
//   dispatch  Headers: counts come from all ranks (rows leave with them) -> Rows: rows arrive, those of other nodes at
//             their gateways -> Forward: gateways send them on, inside the node -> done
//   combine   Results: results or rank sums arrive -> Sums (node_sum): gateways return node sums -> done
//
// The gateway of a home rank in another node is the rank with the same index there.
#pragma once
#include "runtime/base/mapped_memory.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/exchange_plan.h"
#include "runtime/comm/row_sums.h"
#include "runtime/comm/transport.h"
#include <string>

namespace moray::rt::comm {

// What both micro-batches share.
struct HostRanks {
  uint32_t rank, ranks;
  CombineMode combine;
  ModelPlacement placement;
  Transport *transport; // null for one rank
  uint64_t step = 0;
  uint32_t starts = 0; // collectives so far
  Communicator::Counters counted;

  uint32_t perNode() const { return ranks / placement.nodes(); }
  uint32_t nodeOf(uint32_t other) const { return other / perNode(); }
  uint32_t gateway(uint32_t home, uint32_t node) const { return node * perNode() + home % perNode(); }
};

// Memory that grows and is handed out piece by piece.
class Staging {
public:
  // Room for so many bytes in so many pieces; what was taken before is forgotten. 5001.
  Status reserve(uint64_t bytes, uint64_t pieces);
  uint8_t *take(uint64_t bytes);
  // A transport that was abandoned may still use it: kept to the end of the process.
  void keep();

private:
  Mapping memory;
  uint64_t used = 0;
};

class HostBatch {
public:
  HostBatch(HostRanks &shared, uint32_t index) : shared(shared), index(index) {}

  Status startDispatch(const DispatchArgs &args);
  Status startCombine(const CombineArgs &args);
  // As far as it goes without waiting.
  Status progress();
  bool moving() const { return phase != Phase::Idle; }
  // A dispatch awaits its combine.
  bool dispatched() const { return handle; }
  const Place &at() const { return place; }
  // Whose bytes are awaited; as Transport::missing.
  uint32_t missing(uint32_t *peers, uint32_t capacity);
  // After the transport was abandoned.
  void keepMemory();

private:
  enum class Phase { Idle, Headers, Rows, Forward, Results, Sums };
  // Both collectives begin in First, so that ranks that are in different ones notice.
  enum Lane : uint32_t { First, Second, Third };
  static constexpr uint32_t kLanesEach = kLanes / kMicroBatches;

  // At the head of the first message of a collective: what has to be equal on both ends, then numbers of a dispatch.
  struct Header {
    uint32_t magic, start, operation, batch;
    int32_t layer;
    uint32_t rowBytes, scaleBytes, experts;
    uint64_t step, rows, nodeRows, padding;
  };
  // x and scales.
  struct Payload {
    const uint8_t *from;
    uint8_t *to;
    uint64_t bytes; // of a row
  };
  // Rows of one home rank that this rank forwards in its node, and whose sums it returns there.
  struct Relay {
    uint32_t home = 0;
    uint64_t rows = 0;               // each once
    const uint32_t *lists = nullptr; // which of them each rank of this node needs,
    std::vector<uint64_t> begin;     // beginning here: [perNode + 1]
    const uint8_t *payload[2] = {};
  };

  void begin(Operation operation, int32_t layer, uint32_t rowBytes, uint32_t scaleBytes);
  std::string describe(const Header &header) const;
  Status check(uint32_t source, const Header &header) const;
  // Whether rows of one rank reach the node of the other through that other.
  bool isGateway(uint32_t rank, uint32_t other) const;
  uint32_t ownNode() const { return shared.nodeOf(shared.rank); }
  Span<const uint32_t> rowsTo(uint32_t rank) const;

  // Queue a piece of the next post, unless it is empty or for this rank itself.
  void send(uint32_t peer, const void *data, uint64_t bytes);
  void receive(uint32_t peer, void *data, uint64_t bytes);
  void countRows(uint32_t peer, uint64_t sent, uint64_t received);
  Status post(Lane lane);
  Status advance();

  // Dispatch.
  uint64_t headerBytes(uint32_t source, uint32_t destination) const;
  void sendHeaders();
  void sendRows();
  void sendPacked(uint32_t peer, Span<const uint32_t> rows, const uint8_t *from, uint64_t rowBytes);
  Status readHeaders();
  void readRelays();
  Status receiveRows();
  Status forwardRows();
  Status finishDispatch();

  // Combine.
  Status checkCombine() const;
  Status reserveBlocks();
  uint8_t *sendBlock(uint32_t peer, uint64_t rows);
  const uint8_t *receiveBlock(uint32_t peer, uint64_t rows);
  Status checkBlocks();
  void startResults();
  void startSums();
  Status finishResults();
  Status returnNodeSums();
  Status finishNodeSums();
  void listNode(uint32_t node);
  uint8_t *nextSlot(uint32_t row);
  void placeSums(Span<const uint32_t> rows, const uint8_t *sums);
  void clearSlots();

  HostRanks &shared;
  const uint32_t index;
  const Placement *placement = nullptr; // of the layer, from dispatch to combine
  Phase phase = Phase::Idle;
  bool handle = false;
  bool posted[kLanesEach] = {};
  Place place;
  Header header = {};
  DispatchArgs dispatch;
  CombineArgs combine;
  Payload payloads[2] = {};
  std::vector<Piece> sends, receives;
  Staging outgoing, incoming, lists;

  // From dispatch to combine.
  SendPlan sendPlan;
  ReceivePlan receivePlan;
  std::vector<uint64_t> rowsFrom;
  std::vector<const uint8_t *> heads; // by source
  std::vector<Relay> relays;          // by node of the home
  int32_t *slotRows = nullptr;        // in `lists`, of all sources
  std::vector<float> gates;           // where combine is exact

  // Of a combine.
  struct Block {
    uint32_t peer;
    const uint8_t *header;
  };
  std::vector<Block> blocks;
  std::vector<uint8_t *> leaving;       // by rank
  std::vector<const uint8_t *> arrived; // by rank; of node sums by rank in the node and node of the home
  std::vector<const uint8_t *> fromNodes;
  SumLists sums;
  std::vector<uint32_t> filled; // slots of a row that have a sum
};

} // namespace moray::rt::comm
