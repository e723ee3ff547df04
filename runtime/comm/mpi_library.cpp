// libmoray_comm_mpi.so: exchanges by MPI_Isend, MPI_Irecv and MPI_Testall. Nothing that the runtime calls here blocks:
// MPI_Init and MPI_Finalize, which do, run on a thread of their own that is left behind when it is late.
#include "runtime/comm/mpi_table.h"
#include <condition_variable>
#include <cstdio>
#include <mpi.h>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace moray::rt::comm {

namespace {

// MPI counts in int; both sides cut pieces alike.
constexpr uint64_t kLargestMessage = uint64_t{1} << 30;

// The requests of an exchange in flight. Left alone, never destroyed: MPI may write to what a failed group left.
struct Exchange {
  std::vector<MPI_Request> requests;
  std::vector<uint32_t> peers;   // by request
  std::vector<int> receiveBytes; // by request; -1: a send
  std::vector<MPI_Status> statuses;
};

Exchange (&exchanges)[kLanes] = *new Exchange[1][kLanes];
MPI_Comm communicator = MPI_COMM_NULL;
char errorText[512] = "";

// The thread that starts and ends MPI.
struct Keeper {
  std::mutex mutex;
  std::condition_variable changed;
  enum State { Idle, Starting, Running, Ending, Ended, Failed } state = Idle;
  int rank = 0, ranks = 0;
  bool ours = false; // MPI was not running before
};
Keeper &keeper = *new Keeper;

int describe(const char *what, int mpiCode) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(mpiCode, text, &length);
  snprintf(errorText, sizeof(errorText), "%s: %.400s", what, text);
  return kMpiFailed;
}

const char *startMpi() {
  int running = 0, ended = 0, provided = MPI_THREAD_SINGLE;
  if (MPI_Finalized(&ended); ended)
    return "MPI was ended before and cannot start twice in one process";
  MPI_Initialized(&running);
  keeper.ours = !running;
  if (!running && MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
    return "MPI_Init_thread failed";
  if (running)
    MPI_Query_thread(&provided);
  if (provided < MPI_THREAD_SERIALIZED)
    return "this MPI library does not support MPI_THREAD_SERIALIZED";
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  // Of our own, so that no message of others can match.
  if (MPI_Comm_dup(MPI_COMM_WORLD, &communicator) != MPI_SUCCESS)
    return "MPI_Comm_dup failed";
  MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN);
  MPI_Comm_rank(communicator, &keeper.rank);
  MPI_Comm_size(communicator, &keeper.ranks);
  return nullptr;
}

// MPI wants to be ended by the thread that started it.
void keepMpi() {
  const char *problem = startMpi();
  std::unique_lock<std::mutex> lock(keeper.mutex);
  if (problem)
    snprintf(errorText, sizeof(errorText), "%s", problem);
  keeper.state = problem ? Keeper::Failed : Keeper::Running;
  keeper.changed.wait(lock, [] { return keeper.state == Keeper::Ending; });
  lock.unlock();
  MPI_Comm_free(&communicator);
  if (keeper.ours)
    MPI_Finalize();
  lock.lock();
  keeper.state = Keeper::Ended;
}

// Where the keeper is; Failed has its text.
Keeper::State stateOfKeeper() {
  const std::lock_guard<std::mutex> lock(keeper.mutex);
  return keeper.state;
}

int open(uint32_t *rank, uint32_t *ranks, int *done) {
  static bool opened = false;
  *done = 0;
  if (opened) {
    snprintf(errorText, sizeof(errorText), "MPI was opened before in this process");
    return kMpiFailed;
  }
  const Keeper::State state = stateOfKeeper();
  if (state == Keeper::Idle) {
    keeper.state = Keeper::Starting; // no keeper runs yet
    std::thread(keepMpi).detach();
  }
  if (state == Keeper::Failed)
    return kMpiFailed;
  if (state != Keeper::Running)
    return kMpiOk;
  *rank = static_cast<uint32_t>(keeper.rank);
  *ranks = static_cast<uint32_t>(keeper.ranks);
  *done = opened = true;
  return kMpiOk;
}

int post(Exchange &exchange, const Piece &piece, bool send, int tag) {
  for (uint64_t offset = 0; offset < piece.bytes; offset += kLargestMessage) {
    const uint64_t bytes = piece.bytes - offset < kLargestMessage ? piece.bytes - offset : kLargestMessage;
    MPI_Request request = MPI_REQUEST_NULL;
    const int count = static_cast<int>(bytes), peer = static_cast<int>(piece.peer);
    const int code = send ? MPI_Isend(piece.data + offset, count, MPI_BYTE, peer, tag, communicator, &request)
                          : MPI_Irecv(piece.data + offset, count, MPI_BYTE, peer, tag, communicator, &request);
    if (code != MPI_SUCCESS)
      return describe(send ? "MPI_Isend" : "MPI_Irecv", code);
    exchange.requests.push_back(request);
    exchange.peers.push_back(piece.peer);
    exchange.receiveBytes.push_back(send ? -1 : count);
  }
  return kMpiOk;
}

int post(uint32_t lane, const Piece *sends, size_t sendCount, const Piece *receives, size_t receiveCount,
         uint32_t sequence) {
  Exchange &exchange = exchanges[lane];
  const int tag = static_cast<int>(sequence & 0x7fff); // every MPI has tags up to 32767
  for (size_t i = 0; i < receiveCount; ++i)
    if (const int result = post(exchange, receives[i], false, tag))
      return result;
  for (size_t i = 0; i < sendCount; ++i)
    if (const int result = post(exchange, sends[i], true, tag))
      return result;
  exchange.statuses.resize(exchange.requests.size());
  return kMpiOk;
}

int checkReceived(const Exchange &exchange) {
  for (size_t i = 0; i < exchange.statuses.size(); ++i) {
    int bytes = 0;
    if (exchange.receiveBytes[i] < 0)
      continue;
    MPI_Get_count(&exchange.statuses[i], MPI_BYTE, &bytes);
    if (bytes != exchange.receiveBytes[i]) {
      snprintf(errorText, sizeof(errorText), "rank %u sent %d bytes where %d were expected", exchange.peers[i], bytes,
               exchange.receiveBytes[i]);
      return kMpiSizes;
    }
  }
  return kMpiOk;
}

int progress(uint32_t lane, int *done) {
  Exchange &exchange = exchanges[lane];
  *done = 0;
  const int code =
      MPI_Testall(static_cast<int>(exchange.requests.size()), exchange.requests.data(), done, exchange.statuses.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (size_t i = 0; i < exchange.statuses.size(); ++i)
      if (const int error = exchange.statuses[i].MPI_ERROR; error != MPI_SUCCESS && error != MPI_ERR_PENDING) {
        int kind = 0;
        MPI_Error_class(error, &kind);
        const std::string peer = "exchange with rank " + std::to_string(exchange.peers[i]);
        describe(peer.c_str(), error);
        return kind == MPI_ERR_TRUNCATE ? kMpiSizes : kMpiFailed;
      }
  }
  if (code != MPI_SUCCESS)
    return describe("MPI_Testall", code);
  if (!*done)
    return kMpiOk;
  const int result = checkReceived(exchange);
  exchange.requests.clear();
  exchange.peers.clear();
  exchange.receiveBytes.clear();
  return result;
}

uint32_t missing(uint32_t lane, uint32_t *peers, uint32_t capacity) {
  const Exchange &exchange = exchanges[lane];
  uint32_t count = 0;
  for (size_t i = 0; i < exchange.requests.size(); ++i) {
    int complete = 0;
    if (exchange.requests[i] == MPI_REQUEST_NULL ||
        MPI_Request_get_status(exchange.requests[i], &complete, MPI_STATUS_IGNORE) != MPI_SUCCESS || complete)
      continue;
    bool known = false;
    for (uint32_t j = 0; j < count; ++j)
      known = known || peers[j] == exchange.peers[i];
    if (!known && count < capacity)
      peers[count++] = exchange.peers[i];
  }
  return count;
}

void abandon() {
  // Receives are cancelled, which is local. Sends stay: MPI may wait for the peer to cancel them.
  for (Exchange &exchange : exchanges)
    for (size_t i = 0; i < exchange.requests.size(); ++i)
      if (exchange.receiveBytes[i] >= 0 && exchange.requests[i] != MPI_REQUEST_NULL)
        MPI_Cancel(&exchange.requests[i]);
}

// A barrier, so that no rank ends MPI while another still waits for it, then the keeper ends it.
int close(int *done) {
  static MPI_Request request = MPI_REQUEST_NULL;
  static bool begun = false;
  *done = 0;
  if (const Keeper::State state = stateOfKeeper(); state != Keeper::Running) {
    *done = state == Keeper::Ended;
    return kMpiOk;
  }
  int code = begun ? MPI_SUCCESS : MPI_Ibarrier(communicator, &request);
  begun = true;
  int passed = 0;
  if (code == MPI_SUCCESS)
    code = MPI_Test(&request, &passed, MPI_STATUS_IGNORE);
  if (code != MPI_SUCCESS)
    return describe("MPI_Ibarrier", code);
  if (passed) {
    const std::lock_guard<std::mutex> lock(keeper.mutex);
    keeper.state = Keeper::Ending;
    keeper.changed.notify_all();
  }
  return kMpiOk;
}

const char *lastError() { return errorText; }

constexpr MpiTable kTable = {kMpiTableVersion, open, post, progress, missing, abandon, close, lastError};

} // namespace

} // namespace moray::rt::comm

extern "C" __attribute__((visibility("default"))) const moray::rt::comm::MpiTable *moray_comm_mpi_table() {
  return &moray::rt::comm::kTable;
}
