// One rank of a communicator: its life, what it has issued, and how its operations run.
#pragma once

#include "test/ncclsim/device.h"
#include "test/ncclsim/faults.h"
#include "test/ncclsim/operation.h"
#include "test/ncclsim/shared_group.h"

#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace ncclsim {

/// What a host function of a stream runs. Those of captures stay, as a graph may run them at any time.
struct Operation {
  Communicator *comm;
  std::vector<Task> tasks;
  bool captured;
};

struct Window {
  Communicator *comm;
};

/// Never deleted, so that a call with a stale handle is refused and a graph that runs one of its operations reported.
struct Communicator {
  Communicator(const Device &device, int ranks, int rank, bool blocking);

  /// Joins the group, on a thread of its own if not blocking.
  ncclResult_t initialise(const ncclUniqueId &id);
  ncclResult_t finalise();
  ncclResult_t destroy();
  ncclResult_t abort();
  /// What ncclCommGetAsyncError says: a non-blocking communicator says ncclInProgress once after each call that issues.
  ncclResult_t poll();
  /// Success if a call may issue something.
  ncclResult_t checkReady();

  /// Puts the tasks of a group on their streams, as one operation.
  ncclResult_t issue(const std::vector<Task> &tasks);
  ncclResult_t registerWindow(uint64_t address, ncclWindow_t &window);
  ncclResult_t deregisterWindow(ncclWindow_t window);

  /// The first failure is the one that stays.
  void fail(ncclResult_t error, const std::string &text);
  void report(const std::string &text) const;

  const Device &device;
  const int ranks, rank;
  const bool blocking;
  std::atomic<bool> live{true}; // until destroy or abort

private:
  static void run(void *operation);
  void join(ncclUniqueId id);
  bool joinStep(const ncclUniqueId &id);
  void execute(Operation &operation);
  void exchange(const std::vector<Task> &tasks, uint64_t number);
  bool applyFaults(const std::vector<Task> &tasks, uint64_t number);
  bool stage(std::vector<Transfer> &transfers);
  bool progress(Transfer &transfer);
  bool send(Transfer &transfer, Mailbox &box);
  bool receive(Transfer &transfer, Mailbox &box);
  void checkPeers(const std::vector<Transfer> &transfers);
  void waitForAbort() const;
  void waitForGraphs(bool forEver);
  void flush();
  bool groupIsQuiet();
  bool order(cudaStream_t before, cudaStream_t after);
  ncclResult_t cudaError(const char *what, CUresult result);
  ncclResult_t end(RankState state);

  SharedGroup group;
  std::vector<Fault> faults;
  CUcontext context = nullptr;
  std::mutex mutex; // calls of the API
  std::atomic<int> error{ncclSuccess};
  std::atomic<bool> failing{false}; // the first error counts
  std::atomic<bool> aborted{false}, joining{false}, running{false};
  std::atomic<uint64_t> outstanding{0}; // issued outside of captures, not executed yet
  uint64_t executed = 0;                // operations, when seen from streams
  bool issued = false;                  // ncclInProgress has to be said once
  bool finalising = false;
  const std::vector<Task> *held = nullptr; // by a planted fault
  std::vector<std::unique_ptr<Operation>> operations;
  std::vector<std::unique_ptr<Window>> windows;
  // Operations keep the order in which they are issued, whatever their streams.
  CUevent event = nullptr;
  cudaStream_t lastStream = nullptr;
  uint64_t lastCapture = 0;
};

/// Remembers the text for ncclGetLastError, prints it if MORAY_NCCLSIM_LOG is set, and returns the error.
ncclResult_t refuse(ncclResult_t error, const std::string &text);
const char *lastRefusal();
bool isLogging();

/// Whether the handle is one of a communicator that was neither destroyed nor aborted.
bool isLive(ncclComm_t comm);
ncclComm_t addCommunicator(std::unique_ptr<Communicator> comm);

/// Adds a call to the group that is open on this thread, or issues it. With refused the group is lost as a whole.
ncclResult_t addTask(const Task &task);
ncclResult_t groupStart();
ncclResult_t groupEnd();
bool inGroup();

} // namespace ncclsim
