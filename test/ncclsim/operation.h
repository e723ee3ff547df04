// One operation as a stream executes it: the calls of a group, taken apart into messages between pairs of ranks.
#pragma once

#include "test/ncclsim/nccl_abi.h"
#include "test/ncclsim/shared_group.h"

#include <string>
#include <vector>

namespace ncclsim {

enum class Kind : uint32_t { Send, Recv, Broadcast, AllGather, ReduceScatter, AllReduce, AlltoAll };
const char *nameOf(Kind kind);
/// Bytes of an element; 0 for no type.
size_t sizeOf(ncclDataType_t type);

/// One call of the API with checked arguments; the names of what does not apply are 0.
struct Task {
  Kind kind;
  uint64_t from, to; // device addresses
  uint64_t count;    // as the call counts
  ncclDataType_t type;
  ncclRedOp_t reduction;
  int peer; // or root
  ncclComm_t comm;
  cudaStream_t stream;
};

/// A message of which this rank is one end. The whole of it passes through host memory.
struct Transfer {
  bool out;
  int peer;
  uint64_t address; // where it comes from or goes to on the device; 0: it stays in `data`
  MessageHeader header;
  std::vector<uint8_t> data, written;
  uint64_t done = 0; // bytes
  bool ended = false;
};

/// A task that reduces `ranks` received transfers from `first` on.
struct Reduction {
  const Task *task;
  size_t first;
};

/// The messages of some tasks, in the order of the tasks.
void makeTransfers(const std::vector<Task> &tasks, int rank, int ranks, uint64_t operation,
                   std::vector<Transfer> &transfers, std::vector<Reduction> &reductions);

/// Adds up (or whatever the task says) in the order of ranks, so that all get the same bits; the result replaces the
/// first transfer's data. Bytes are written where all of them were.
void reduce(const Task &task, Transfer *transfers, int ranks);
/// Whether reduce knows the type and the operator.
bool canReduce(ncclDataType_t type, ncclRedOp_t reduction);

/// Why a message is not the one that is waited for; empty if it is.
std::string compareHeaders(const MessageHeader &expected, const MessageHeader &found);

} // namespace ncclsim
