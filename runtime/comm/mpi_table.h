// The C table between the runtime and libmoray_comm_mpi.so, the only code that links an MPI library.
#pragma once
#include "runtime/comm/transport.h"

namespace moray::rt::comm {

constexpr uint32_t kMpiTableVersion = 2;
constexpr char kMpiTableSymbol[] = "moray_comm_mpi_table";

enum MpiResult : int {
  kMpiOk = 0,
  kMpiFailed = 1, // MPI reports an error
  kMpiSizes = 2,  // a peer sent another number of bytes than expected
};

// Meaning and order of calls are those of Transport. Any result but kMpiOk is described by lastError().
struct MpiTable {
  uint32_t version;                                        // kMpiTableVersion; the rest may differ where it does
  int (*open)(uint32_t *rank, uint32_t *ranks, int *done); // begins or continues to start MPI
  int (*post)(uint32_t lane, const Piece *sends, size_t sendCount, const Piece *receives, size_t receiveCount,
              uint32_t sequence);
  int (*progress)(uint32_t lane, int *done);
  uint32_t (*missing)(uint32_t lane, uint32_t *peers, uint32_t capacity);
  void (*abandon)();
  int (*close)(int *done);
  const char *(*lastError)();
};

using MpiTableFunction = const MpiTable *(*)();

} // namespace moray::rt::comm
