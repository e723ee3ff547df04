// How an operation runs as a host function: all its messages make progress at once, a piece at a time.
#include "test/ncclsim/communicator.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <unistd.h>
#include <utility>

namespace ncclsim {

void Communicator::run(void *data) {
  Operation &operation = *static_cast<Operation *>(data);
  Communicator &comm = *operation.comm;
  comm.running = true; // before asking: abort sets its mark, then waits for this
  comm.execute(operation);
  comm.running = false;
  comm.outstanding -= !operation.captured;
}

void Communicator::execute(Operation &operation) {
  if (aborted)
    return;
  if (!live)
    return report("a graph runs an operation of a destroyed communicator");
  const uint64_t number = ++executed;
  if (error)
    return waitForAbort();
  if (applyFaults(operation.tasks, number))
    return;
  exchange(operation.tasks, number);
  if (held)
    exchange(*std::exchange(held, nullptr), number - 1);
}

// True if the operation must not run now.
bool Communicator::applyFaults(const std::vector<Task> &tasks, uint64_t number) {
  for (const Fault &fault : faults) {
    if (fault.operation != number)
      continue;
    switch (fault.kind) {
    case Fault::Delay:
      for (unsigned passed = 0; passed < fault.milliseconds && !aborted; ++passed)
        usleep(1000);
      break;
    case Fault::Kill:
      raise(SIGKILL);
      break;
    case Fault::Stop:
      raise(SIGSTOP); // of this thread first, so that it does no more
      break;
    case Fault::Error:
      fail(ncclSystemError, "planted error in operation " + std::to_string(number));
      waitForAbort();
      return true;
    case Fault::Order:
      held = &tasks;
      return true;
    case Fault::Count:
    case Fault::Init:
      break; // elsewhere
    }
  }
  return false;
}

void Communicator::waitForAbort() const {
  while (!aborted)
    usleep(500);
}

void Communicator::exchange(const std::vector<Task> &tasks, uint64_t number) {
  std::vector<Transfer> transfers;
  std::vector<Reduction> reductions;
  makeTransfers(tasks, rank, ranks, number, transfers, reductions);
  if (isLogging())
    for (const Transfer &transfer : transfers)
      fprintf(stderr, "ncclsim: rank %d: operation %llu: %s, %llu elements of type %u %s %d\n", rank,
              static_cast<unsigned long long>(number), nameOf(Kind(transfer.header.kind)),
              static_cast<unsigned long long>(transfer.header.count), transfer.header.type,
              transfer.out ? "to" : "from", transfer.peer);
  if (!stage(transfers))
    return;
  std::vector<bool> blocked(size_t(2 * ranks));
  for (unsigned idle = 0;;) {
    bool moved = false, ended = true;
    std::fill(blocked.begin(), blocked.end(), false);
    for (Transfer &transfer : transfers) {
      // Messages of one direction between two ranks keep their order.
      std::vector<bool>::reference before = blocked[size_t(2 * transfer.peer + transfer.out)];
      if (transfer.ended || before)
        continue;
      moved |= progress(transfer);
      before = !transfer.ended;
      ended = ended && transfer.ended;
    }
    if (aborted)
      return;
    if (error)
      return waitForAbort();
    if (ended)
      break;
    idle = moved ? 0 : idle + 1;
    if (idle > 100) {
      checkPeers(transfers);
      usleep(100);
    } else if (idle > 0) {
      std::this_thread::yield();
    }
  }
  for (const Reduction &reduction : reductions)
    reduce(*reduction.task, &transfers[reduction.first], ranks);
  for (const Transfer &transfer : transfers)
    if (!transfer.out && transfer.address)
      if (device.write(transfer.address, transfer.data.size(), transfer.data.data(), transfer.written.data()))
        return fail(ncclUnhandledCudaError, "the device failed under operation " + std::to_string(number));
}

// Reads what is to be sent.
bool Communicator::stage(std::vector<Transfer> &transfers) {
  bool shorten = false;
  for (const Fault &fault : faults)
    shorten |= fault.kind == Fault::Count && !transfers.empty() && fault.operation == transfers[0].header.operation;
  for (Transfer &transfer : transfers) {
    if (!transfer.out)
      continue;
    if (device.read(transfer.address, transfer.data.size(), transfer.data.data(), transfer.written.data())) {
      fail(ncclUnhandledCudaError, "the device failed under operation " + std::to_string(transfer.header.operation));
      return false;
    }
    if (shorten && transfer.header.count > 0) {
      --transfer.header.count;
      transfer.data.resize(transfer.header.count * sizeOf(ncclDataType_t(transfer.header.type)));
      shorten = false;
    }
  }
  return true;
}

bool Communicator::progress(Transfer &transfer) {
  Mailbox &box = transfer.out ? group.mailbox(rank, transfer.peer) : group.mailbox(transfer.peer, rank);
  const bool full = box.full.load(std::memory_order_acquire) != 0;
  return transfer.out ? !full && send(transfer, box) : full && receive(transfer, box);
}

bool Communicator::send(Transfer &transfer, Mailbox &box) {
  const size_t piece = std::min<size_t>(Mailbox::capacity, transfer.data.size() - transfer.done);
  box.header = transfer.header;
  box.bytes = uint32_t(piece);
  if (piece) {
    memcpy(box.data, transfer.data.data() + transfer.done, piece);
    memcpy(box.written, transfer.written.data() + transfer.done, piece);
  }
  box.full.store(1, std::memory_order_release);
  transfer.done += piece;
  transfer.ended = transfer.done == transfer.data.size();
  return true;
}

bool Communicator::receive(Transfer &transfer, Mailbox &box) {
  std::string difference = compareHeaders(transfer.header, box.header);
  if (!difference.empty()) {
    fail(ncclInvalidUsage, "message of rank " + std::to_string(transfer.peer) + ": " + difference);
    return false;
  }
  if (box.bytes) {
    memcpy(transfer.data.data() + transfer.done, box.data, box.bytes);
    memcpy(transfer.written.data() + transfer.done, box.written, box.bytes);
  }
  transfer.done += box.bytes;
  box.full.store(0, std::memory_order_release);
  transfer.ended = transfer.done == transfer.data.size();
  return true;
}

// A peer that has ended its communicator will neither send nor receive. One that was killed cannot be told from a slow
// one.
void Communicator::checkPeers(const std::vector<Transfer> &transfers) {
  for (const Transfer &transfer : transfers) {
    if (transfer.ended || transfer.peer == rank)
      continue;
    const RankState state = group.state(transfer.peer);
    const Mailbox &box = transfer.out ? group.mailbox(rank, transfer.peer) : group.mailbox(transfer.peer, rank);
    if (state >= Destroyed && (box.full != 0) == transfer.out)
      fail(ncclRemoteError, "operation " + std::to_string(transfer.header.operation) + " waits for rank " +
                                std::to_string(transfer.peer) + ", which has " +
                                (state == Destroyed ? "destroyed"
                                 : state == Aborted ? "aborted"
                                                    : "lost") +
                                " its communicator");
  }
}

} // namespace ncclsim
