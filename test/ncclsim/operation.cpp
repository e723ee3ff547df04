// Messages of a group's calls, and reductions on the host.
#include "test/ncclsim/operation.h"

#include <algorithm>
#include <cstring>

namespace ncclsim {

const char *nameOf(Kind kind) {
  static constexpr const char *names[] = {"ncclSend",          "ncclRecv",      "ncclBroadcast", "ncclAllGather",
                                          "ncclReduceScatter", "ncclAllReduce", "ncclAlltoAll"};
  return names[size_t(kind)];
}

size_t sizeOf(ncclDataType_t type) {
  static constexpr size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return type < ncclNumTypes ? sizes[type] : 0;
}

void makeTransfers(const std::vector<Task> &tasks, int rank, int ranks, uint64_t operation,
                   std::vector<Transfer> &transfers, std::vector<Reduction> &reductions) {
  for (const Task &task : tasks) {
    const uint64_t bytes = task.count * sizeOf(task.type);
    const bool paired = task.kind == Kind::Send || task.kind == Kind::Recv;
    const MessageHeader header = {uint32_t(paired ? Kind::Send : task.kind),
                                  task.type,
                                  task.reduction,
                                  uint32_t(task.kind == Kind::Broadcast ? task.peer : 0),
                                  task.count,
                                  operation};
    auto add = [&](bool out, int peer, uint64_t address) {
      Transfer transfer = {out, peer, address, header, {}, {}};
      transfer.data.resize(bytes);
      transfer.written.resize(bytes);
      transfers.push_back(std::move(transfer));
    };
    if (task.kind == Kind::Send)
      add(true, task.peer, task.from);
    if (task.kind == Kind::Recv)
      add(false, task.peer, task.to);
    if (paired)
      continue;
    const bool parts = task.kind == Kind::AlltoAll || task.kind == Kind::ReduceScatter;
    const bool reduces = task.kind == Kind::AllReduce || task.kind == Kind::ReduceScatter;
    if (task.kind != Kind::Broadcast || task.peer == rank)
      for (int peer = 0; peer < ranks; ++peer)
        add(true, peer, task.from + (parts ? uint64_t(peer) * bytes : 0));
    if (reduces)
      reductions.push_back({&task, transfers.size()});
    if (task.kind == Kind::Broadcast)
      add(false, task.peer, task.to);
    else
      for (int peer = 0; peer < ranks; ++peer)
        add(false, peer, !reduces ? task.to + uint64_t(peer) * bytes : peer == 0 ? task.to : 0);
  }
}

namespace {

template <typename T> T combine(ncclRedOp_t reduction, T a, T b) {
  return reduction == ncclMax ? std::max(a, b) : reduction == ncclMin ? std::min(a, b) : T(a + b);
}

// bfloat16 as its bits.
struct Bfloat16 {
  uint16_t bits;
};

Bfloat16 combine(ncclRedOp_t reduction, Bfloat16 a, Bfloat16 b) {
  auto widen = [](Bfloat16 narrow) {
    uint32_t bits = uint32_t(narrow.bits) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  };
  float value = combine(reduction, widen(a), widen(b));
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value)
    return {uint16_t(bits >> 16 | 0x40)};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)}; // to nearest even
}

template <typename T> void reduceAs(const Task &task, Transfer *transfers, int ranks) {
  for (uint64_t i = 0; i < task.count; ++i) {
    T sum, next;
    memcpy(&sum, transfers[0].data.data() + i * sizeof(T), sizeof(T));
    for (int rank = 1; rank < ranks; ++rank) {
      memcpy(&next, transfers[rank].data.data() + i * sizeof(T), sizeof(T));
      sum = combine(task.reduction, sum, next);
    }
    memcpy(transfers[0].data.data() + i * sizeof(T), &sum, sizeof(T));
  }
}

} // namespace

bool canReduce(ncclDataType_t type, ncclRedOp_t reduction) {
  bool known = reduction == ncclSum || reduction == ncclMax || reduction == ncclMin;
  return known && (type == ncclFloat32 || type == ncclBfloat16 || (type >= ncclInt32 && type <= ncclUint64));
}

void reduce(const Task &task, Transfer *transfers, int ranks) {
  for (int rank = 1; rank < ranks; ++rank)
    for (size_t i = 0; i < transfers[0].written.size(); ++i)
      transfers[0].written[i] &= transfers[rank].written[i];
  switch (task.type) {
  case ncclInt32:
    return reduceAs<int32_t>(task, transfers, ranks);
  case ncclUint32:
    return reduceAs<uint32_t>(task, transfers, ranks);
  case ncclInt64:
    return reduceAs<int64_t>(task, transfers, ranks);
  case ncclUint64:
    return reduceAs<uint64_t>(task, transfers, ranks);
  case ncclBfloat16:
    return reduceAs<Bfloat16>(task, transfers, ranks);
  default: // canReduce leaves no other
    return reduceAs<float>(task, transfers, ranks);
  }
}

std::string compareHeaders(const MessageHeader &expected, const MessageHeader &found) {
  const char *different = expected.kind != found.kind             ? "order of calls"
                          : expected.type != found.type           ? "type"
                          : expected.count != found.count         ? "count"
                          : expected.reduction != found.reduction ? "operator"
                          : expected.root != found.root           ? "root"
                                                                  : nullptr;
  if (!different)
    return {};
  auto text = [](const MessageHeader &header) {
    return std::to_string(header.count) + " elements of type " + std::to_string(header.type) + " by " +
           nameOf(Kind(header.kind)) + " (operation " + std::to_string(header.operation) + ")";
  };
  return std::string("different ") + different + ": waits for " + text(expected) + ", gets " + text(found);
}

} // namespace ncclsim
