// What the executor calls where rows move between ranks: dispatch sends rows to the ranks of their experts, combine
// brings results back.
//
// Order. All ranks call the same collectives in the same order; dispatch and combine alternate strictly, one pair per
// MoE layer: what was dispatched is the handle that combine needs, and the communicator keeps it. A combine without a
// dispatch, or two dispatches in a row, is 5108 and ends the communicator. A rank without rows calls both with rows 0.
//
// Results. For the same global input the results do not depend on the number of ranks nor on the placement: rows are
// copied, never computed with. A row goes once to each rank that has one of its experts. Received slots are sorted by
// (expert ascending, source rank ascending, the order that the source has in `tokens`: token index ascending); combine
// returns row i of `e` for slot i of the `tokens` that dispatch was given.
//
// Deadline. Every wait ends at the deadline of the communicator (default 10 s), or earlier when the Watch reports a
// cause. Nothing blocks without a limit.
//
// Errors. 5106 a rank was lost, 5107 a rank stalled (both name rank, step, layer and operation), 5108 ranks disagree or
// the order is broken, 5109 another rank failed, 5111 an error of MPI, 5113 malformed counts of a peer, 5001 no memory
// for staging, 5013 `tokens` or `offsets` break their contract or a buffer is too small: found before any row is
// written. Each is final: later calls return 5114, and the process is expected to end (exit code 9).
//
// Ownership. All buffers belong to the caller and are used during the call alone. Staging memory belongs to the
// communicator, grows to the largest exchange so far and shrinks never. A Watch outlives the communicator.
//
// Threads. One thread at a time: the executor's worker 0, between two barriers.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>

namespace moray::rt::comm {

constexpr uint32_t kDefaultDeadlineMs = 10000;

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
};

struct CombineArgs {
  int32_t layer = -1;
  uint32_t rowBytes = 0;    // > 0, the same on all ranks; may differ from dispatch
  const void *er = nullptr; // [offsetsR[E]] rows: the result of each received slot
  uint64_t erRows = 0;      // capacity in rows
  void *e = nullptr;        // out: [offsets[E]] rows in the order of this rank's `tokens`
  uint64_t eRows = 0;       // capacity in rows
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
  virtual Status dispatch(const DispatchArgs &args) = 0;
  virtual Status combine(const CombineArgs &args) = 0;
  // The orderly end: all ranks call it. Without it the destructor abandons what is in flight and waits for nobody.
  virtual Status close() = 0;

  // Since the start: rows that went to and came from other ranks, bytes sent to them, time in collectives.
  struct Counters {
    uint64_t rowsSent = 0, rowsReceived = 0, bytesSent = 0, waitNs = 0, collectives = 0;
  };
  virtual const Counters &counters() const = 0;
};

} // namespace moray::rt::comm
