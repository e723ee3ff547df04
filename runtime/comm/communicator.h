// What the executor calls where rows move between ranks: dispatch sends rows to the ranks of their experts, combine
// brings results back.
//
// Two micro-batches, each with an exchange of its own: start begins a collective and returns, wait ends it, progress
// moves what is in flight meanwhile. dispatch and combine are start and wait of micro-batch 0.
//
// Order. All ranks start the same collectives in the same order. For each micro-batch dispatch and combine alternate
// strictly, one pair per MoE layer, each waited for before the next one starts: what was dispatched is the handle that
// combine needs, and the communicator keeps it. Anything else is 5108 and ends the communicator. A rank without rows
// calls all of them with rows 0.
//
// Results. Received slots are sorted by (expert ascending, source rank ascending, the order that the source has in
// `tokens`: token index ascending). Combine has three modes; those behind it compute out = sum of gatesOut * e, in the
// order of a row's slots, in each of them:
//   Exact    row i of `e` is the result of slot i of the `tokens` that dispatch was given, gatesOut = gates. Rows are
//            copied, never computed with: for the same global input nothing depends on the number of ranks nor on the
//            placement.
//   RankSum  each rank returns one row per row that it was sent: the sum of gate * result over its experts, ascending,
//            in f32, rounded to `type` (to nearest even). These stand, by ascending rank, in the first slots of their
//            row with gate 1; its other slots are 0 with gate 0.
//   NodeSum  rank sums go to one rank of their node, which adds them by ascending rank and rounds again; these node
//            sums stand, by ascending node, in the first slots of their row. Sums are repeatable for a fixed placement.
//
// Traffic. A row goes once to each rank that has one of its experts; with several nodes once to each other node, to the
// rank with the same index in its node as the home rank, which forwards it. Exact results and rank sums come straight
// back.
//
// Deadline. Every wait ends at the deadline of the communicator (default 10 s), counted from its begin, or earlier when
// the Watch reports a cause. Nothing blocks without a limit.
//
// Errors. 5106 a rank was lost, 5107 a rank stalled (both name rank, step, layer and operation), 5108 ranks disagree or
// the order is broken, 5109 another rank failed, 5111 an error of MPI, 5113 malformed counts of a peer, 5001 no memory
// for staging, 5013 arguments break their contract or a buffer is too small: found before any row is written. Any call
// may return the error of either micro-batch. Each is final: later calls return 5114, and the process is expected to
// end (exit code 9).
//
// Ownership. All buffers belong to the caller and are used from start to the end of wait. Staging memory belongs to the
// communicator, grows to the largest exchange so far and shrinks never. A Watch outlives the communicator.
//
// Threads. One thread at a time: the executor's worker 0, between two barriers.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include "runtime/comm/placement.h"
#include <cstdint>

namespace moray::schema {
enum class DType : uint8_t;
}

namespace moray::rt::comm {

constexpr uint32_t kDefaultDeadlineMs = 10000;
constexpr uint32_t kMicroBatches = 2;

enum class CombineMode : uint32_t { Exact, RankSum, NodeSum };

enum class Operation : uint32_t { Load, Agreement, Dispatch, Combine, Shutdown };
constexpr uint32_t kOperations = 5;
const char *nameOf(Operation operation);

// Where a rank is. `layer` is -1 outside of layers.
struct Place {
  uint64_t step = 0;
  int32_t layer = -1;
  Operation operation = Operation::Load;
};

// Who is missing, and since when (nowNs()).
struct Waiting {
  Place place;
  Span<const uint32_t> missing; // at least one rank
  uint64_t sinceNs = 0;
};

// Knows more about the group than a transport does; the control channel is one.
class Watch {
public:
  virtual ~Watch() = default;
  // Called about once a millisecond while a collective waits; never blocks. An error (5106, 5107, 5109 ...) ends the
  // wait and is what the collective returns.
  virtual Status poll(const Waiting &waiting) = 0;
  // The deadline has passed. Returns the error that names the rank at fault, which need not be one of `missing`: a
  // rank that waits for a stalled rank is itself late. May wait for the verdict of the group, at most half a second.
  virtual Status stalled(const Waiting &waiting) = 0;
  // For a wait that may itself last longer than the deadline: 5107 for a rank that has said nothing for the deadline.
  virtual Status silent(const Waiting &waiting) { return {}; }
};

struct DispatchArgs {
  int32_t layer = -1;               // for messages, and compared between ranks
  uint32_t rowBytes = 0;            // > 0, the same on all ranks
  const void *x = nullptr;          // [rows] rows of rowBytes
  uint64_t rows = 0;                // local rows, may be 0
  const int32_t *tokens = nullptr;  // [offsets[E]] row of each local slot, sorted by expert
  const int32_t *offsets = nullptr; // [E + 1] first slot of each logical expert, offsets[0] = 0
  void *xr = nullptr;               // out: the received rows, sorted by (source rank, row)
  uint64_t xrRows = 0;              // capacity in rows; ranks x the largest number of local rows is always enough
  int32_t *tokensR = nullptr;       // out: row in xr of each received slot, in canonical order
  uint64_t tokensRCount = 0;        // capacity in slots; ranks x largest rows x K is always enough
  int32_t *offsetsR = nullptr;      // out: [E + 1]; experts that do not live here are empty
  // [rows, K] weights of a row's slots, in the order of its slots (expert ascending); each row has K = slots / rows
  // slots. Needed by the modes that sum; null: combine leaves gatesOut alone.
  const float *gates = nullptr;
  uint32_t scaleBytes = 0;      // > 0: a second payload of each row, the same on all ranks
  const void *scales = nullptr; // [rows] of scaleBytes
  void *scalesR = nullptr;      // out: [xrRows] of scaleBytes, in the order of xr
};

struct CombineArgs {
  int32_t layer = -1;
  uint32_t rowBytes = 0;     // > 0, the same on all ranks; may differ from dispatch
  const void *er = nullptr;  // [offsetsR[E]] rows: the result of each received slot
  uint64_t erRows = 0;       // capacity in rows
  void *e = nullptr;         // out: [offsets[E]] rows in the order of this rank's `tokens`
  uint64_t eRows = 0;        // capacity in rows
  schema::DType type = {};   // of er and e where they are summed: F32 or BF16
  float *gatesOut = nullptr; // out: [rows, K] what the rows of e are to be multiplied with
};

class Communicator {
public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator &) = delete;
  Communicator &operator=(const Communicator &) = delete;

  virtual uint32_t rank() const = 0;
  virtual uint32_t ranks() const = 0;

  // Number of the step that the following collectives belong to, for messages; compared between ranks.
  virtual void beginStep(uint64_t step) = 0;
  // Between two steps, on all ranks before the same one: what follows uses this placement. 5112 unless it is for as
  // many experts, ranks and nodes; 5108 between a dispatch and its combine.
  virtual Status setPlacement(const ModelPlacement &placement) = 0;
  virtual Status startDispatch(uint32_t batch, const DispatchArgs &args) = 0;
  virtual Status startCombine(uint32_t batch, const CombineArgs &args) = 0;
  // Ends what was started for this micro-batch.
  virtual Status wait(uint32_t batch) = 0;
  // Moves what is in flight, as far as it goes without waiting.
  virtual Status progress() = 0;
  Status dispatch(const DispatchArgs &args) {
    MORAY_TRY(startDispatch(0, args));
    return wait(0);
  }
  Status combine(const CombineArgs &args) {
    MORAY_TRY(startCombine(0, args));
    return wait(0);
  }
  // The orderly end: all ranks call it. Without it the destructor abandons what is in flight and waits for nobody.
  virtual Status close() = 0;

  // Since the start: rows that went to and came from other ranks, bytes sent to them, how much of that went to other
  // nodes, time in calls of the communicator.
  struct Counters {
    uint64_t rowsSent = 0, rowsReceived = 0, bytesSent = 0, waitNs = 0, collectives = 0;
    uint64_t rowsBetweenNodes = 0, bytesBetweenNodes = 0;
  };
  virtual const Counters &counters() const = 0;
};

} // namespace moray::rt::comm
