// A communicator library that is libmoray_comm_mpi.so but for one fault. MORAY_FAULT = "RANK PLACE NUMBER ACTION FILE":
// on rank RANK, at PLACE (open, close; before, inside or after the first exchange from NUMBER on), FILE is made and
// then ACTION happens: kill, stop, or a sleep of so many milliseconds. MORAY_FAULT_LIBRARY is the path of the real
// library. MORAY_DELAYS = MICROSECONDS instead: every exchange ends up to so much later, at random.
#include "runtime/comm/mpi_table.h"
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <random>
#include <time.h>
#include <unistd.h>

using namespace moray::rt::comm;

namespace {

const MpiTable *real = nullptr;
unsigned rankAtFault = 0, numberAtFault = 0, exchange = 0;
uint64_t mostDelayNs = 0, endNs[kLanes] = {}; // by lane: not before
std::minstd_rand randomDelay(static_cast<unsigned>(getpid()));
char place[16] = "", action[16] = "", file[512] = "";

void reach(const char *where, unsigned number) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK");
  if (strcmp(where, place) != 0 || number < numberAtFault || !rank || static_cast<unsigned>(atoi(rank)) != rankAtFault)
    return;
  place[0] = 0; // once
  if (FILE *made = fopen(file, "w"))
    fclose(made);
  if (strcmp(action, "kill") == 0)
    raise(SIGKILL);
  if (strcmp(action, "stop") == 0)
    raise(SIGSTOP);
  const long ms = atol(action);
  const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&pause, nullptr);
}

int open(uint32_t *rank, uint32_t *ranks, int *done) {
  reach("open", 0);
  return real->open(rank, ranks, done);
}
uint64_t nowNs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}
int post(uint32_t lane, const Piece *sends, size_t sendCount, const Piece *receives, size_t receiveCount,
         uint32_t sequence) {
  exchange = sequence;
  reach("before", exchange);
  if (mostDelayNs)
    endNs[lane] = nowNs() + randomDelay() % mostDelayNs;
  return real->post(lane, sends, sendCount, receives, receiveCount, sequence);
}
int progress(uint32_t lane, int *done) {
  reach("inside", exchange);
  const int result = real->progress(lane, done);
  if (*done && mostDelayNs && nowNs() < endNs[lane])
    *done = 0;
  if (*done)
    reach("after", exchange);
  return result;
}
int close(int *done) {
  reach("close", 0);
  return real->close(done);
}

} // namespace

extern "C" const MpiTable *moray_comm_mpi_table() {
  static MpiTable table;
  const char *fault = getenv("MORAY_FAULT"), *library = getenv("MORAY_FAULT_LIBRARY");
  void *handle = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : nullptr;
  const auto function = handle ? reinterpret_cast<MpiTableFunction>(dlsym(handle, kMpiTableSymbol)) : nullptr;
  const char *delays = getenv("MORAY_DELAYS");
  mostDelayNs = delays ? static_cast<uint64_t>(atol(delays)) * 1000 : 0;
  if ((!fault && !delays) || !function ||
      (fault && sscanf(fault, "%u %15s %u %15s %511s", &rankAtFault, place, &numberAtFault, action, file) != 5))
    return nullptr;
  real = function();
  table = *real;
  table.open = open;
  table.post = post;
  table.progress = progress;
  table.close = close;
  return &table;
}
