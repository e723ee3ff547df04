// What travels with agreements: rank 0 sends sequences to the rank that computes them, and gets their results back.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include "runtime/comm/placement.h"
#include "runtime/engine/sequence.h"
#include <cstdint>
#include <vector>

namespace moray::rt {

// To other ranks: Add, Cancel, Place (a placement to prepare), Swap (it holds after this step), AskLoads. To rank 0:
// Out, Progress, Ready (the placement is prepared), Loads.
enum class MessageKind : uint32_t { Add, Cancel, Place, Swap, AskLoads, Out, Progress, Ready, Loads };
enum : uint32_t { kOutSample = 1, kOutScore = 2, kOutLogits = 4 };

struct Message {
  MessageKind kind;
  uint32_t flags;    // Out: kOut*
  uint64_t sequence; // number that rank 0 gave it
  uint64_t position; // Out: of the row. Progress: rows computed. Add: rows with logits
  uint64_t count;    // Add: tokens that follow. Out: floats. Place: slots. Loads: numbers of 64 bits
  int32_t token;     // Out: sampled
  float logProb;     // Out
};

// Sampling and limits of a sequence as rank 0 was given them; pointers stay there.
struct SequenceTerms {
  float temperature, topP;
  uint32_t topK, maxTokens;
  uint64_t seed;
  uint32_t ignoreEos, promptOnly, logits, logProbs;
};

// Messages for one rank, back to back.
class Outbox {
public:
  void add(const moray_sequence &sequence);
  void cancel(uint64_t sequence);
  // `logits` [vocab] where the flags say so.
  void out(const Message &message, const float *logits);
  void progress(uint64_t sequence, uint64_t rows);
  void place(const comm::ModelPlacement &placement);
  void loads(Span<const uint64_t> loads);
  // Swap, AskLoads, Ready: nothing follows.
  void signal(MessageKind kind);

  Bytes bytes() const { return {data.data(), data.size()}; }
  void clear() { data.clear(); }

private:
  void append(const void *bytes, size_t count);
  std::vector<uint8_t> data;
};

// Reads what an Outbox holds; 5113 where bytes are missing.
class Inbox {
public:
  Inbox(Bytes data, uint32_t from) : data(data), from(from) {}
  bool done() const { return at == data.size(); }
  Status next(Message &message);
  // What follows an Add. The ids are copied, as bytes of messages have no alignment.
  Status terms(SequenceTerms &terms);
  Status ids(uint64_t count, std::vector<int32_t> &ids);
  // What follows an Out: `count` floats, copied to `target` unless it is null.
  Status floats(uint64_t count, float *target);
  Status numbers(uint64_t count, std::vector<uint64_t> &numbers);

private:
  Status take(void *target, uint64_t bytes);
  const Bytes data;
  const uint32_t from;
  size_t at = 0;
};

} // namespace moray::rt
