// A communicator library that fails as the environment says: MORAY_FAKE_MPI = open | late | other | post | sizes |
// close.
#include "runtime/comm/mpi_table.h"
#include <cstdlib>
#include <cstring>

using namespace moray::rt::comm;

namespace {

bool fails(const char *what) {
  const char *wanted = getenv("MORAY_FAKE_MPI");
  return wanted && strcmp(wanted, what) == 0;
}

int open(uint32_t *rank, uint32_t *ranks, int *done) {
  *done = !fails("late");
  *rank = 0;
  *ranks = fails("other") ? 3 : 2;
  return fails("open") ? kMpiFailed : kMpiOk;
}
int post(uint32_t, const Piece *, size_t, const Piece *, size_t, uint32_t) {
  return fails("post") ? kMpiFailed : kMpiOk;
}
int progress(uint32_t, int *done) {
  *done = 0;
  return fails("sizes") ? kMpiSizes : kMpiFailed;
}
uint32_t missing(uint32_t, uint32_t *, uint32_t) { return 0; }
void abandon() {}
int close(int *done) {
  *done = 1;
  return fails("close") ? kMpiFailed : kMpiOk;
}
const char *lastError() { return "the fake library was told so"; }

constexpr MpiTable kTable = {kMpiTableVersion, open, post, progress, missing, abandon, close, lastError};

} // namespace

extern "C" const MpiTable *moray_comm_mpi_table() { return &kTable; }
