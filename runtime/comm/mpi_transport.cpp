// Opens libmoray_comm_mpi.so and makes a transport of its table.
#include "runtime/base/clock.h"
#include "runtime/comm/host_communicator.h"
#include "runtime/comm/mpi_table.h"
#include <algorithm>
#include <dlfcn.h>
#include <string>
#include <time.h>

namespace moray::rt::comm {

namespace {

constexpr char kLibraryName[] = "libmoray_comm_mpi.so";

class MpiTransport final : public Transport {
public:
  explicit MpiTransport(const MpiTable &table) : table(table) {}

  // Other ranks may be lost or stop while MPI starts, and MPI itself would wait for them for ever.
  Status open(const CommunicatorOptions &options, Watch *watch) {
    uint32_t rank = 0, ranks = 0;
    const uint64_t begun = nowNs();
    const uint64_t limitMs = options.startMs ? options.startMs : std::max<uint64_t>(5000, 3ull * options.deadlineMs);
    std::vector<uint32_t> others;
    for (uint32_t other = 0; other < options.ranks; ++other)
      if (other != options.rank)
        others.push_back(other);
    const Waiting waiting = {{0, -1, Operation::Load}, {others.data(), others.size()}, begun};
    for (int done = 0; !done;) {
      if (const int result = table.open(&rank, &ranks, &done))
        return error(result, "MPI does not start");
      if (watch) {
        MORAY_TRY(watch->poll(waiting));
        MORAY_TRY(watch->silent(waiting));
      }
      if (!done && nowNs() - begun >= 1000000 * limitMs)
        return watch && !others.empty()
                   ? watch->stalled(waiting)
                   : fail(kE5107,
                          "MPI_Init did not return within %llu ms; a rank is stopped, or too slow for the deadline",
                          static_cast<unsigned long long>(limitMs));
      const struct timespec pause = {0, 1000000};
      if (!done)
        nanosleep(&pause, nullptr);
    }
    if (rank != options.rank || ranks != options.ranks)
      return fail(
          kE5101,
          "MPI says that this is rank %u of %u, the launcher's variables say rank %u of %u; start all ranks with "
          "the mpirun of the MPI library that %s is linked to",
          rank, ranks, options.rank, options.ranks, kLibraryName);
    return {};
  }

  Status post(uint32_t lane, Span<const Piece> sends, Span<const Piece> receives, uint32_t sequence) override {
    return error(table.post(lane, sends.data(), sends.size(), receives.data(), receives.size(), sequence), "exchange");
  }
  Status progress(uint32_t lane, bool &done) override {
    int finished = 0;
    const int result = table.progress(lane, &finished);
    done = finished != 0;
    return error(result, "exchange");
  }
  uint32_t missing(uint32_t lane, uint32_t *peers, uint32_t capacity) override {
    return table.missing(lane, peers, capacity);
  }
  void abandon() override { table.abandon(); }
  Status close(bool &done) override {
    int finished = 0;
    const int result = table.close(&finished);
    done = finished != 0;
    return error(result, "MPI does not end");
  }

private:
  Status error(int result, const char *what) const {
    switch (result) {
    case kMpiOk:
      return {};
    case kMpiSizes:
      return fail(kE5108, "%s: %s; all ranks must run the same step of the same artifact", what, table.lastError());
    default:
      return fail(kE5111, "%s: %s", what, table.lastError());
    }
  }

  const MpiTable &table;
};

// Beside this library, where an installation puts it; else where the loader looks.
void *openLibrary(const char *path) {
  if (path)
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
  Dl_info self;
  if (dladdr(reinterpret_cast<const void *>(&openLibrary), &self) && self.dli_fname) {
    std::string beside = self.dli_fname;
    beside.resize(beside.rfind('/') == std::string::npos ? 0 : beside.rfind('/') + 1);
    if (void *handle = dlopen((beside + kLibraryName).c_str(), RTLD_NOW | RTLD_LOCAL))
      return handle;
  }
  return dlopen(kLibraryName, RTLD_NOW | RTLD_LOCAL);
}

Status loadTable(const char *path, const MpiTable *&table) {
  void *handle = openLibrary(path);
  if (!handle) {
    const char *reason = dlerror();
    return fail(kE5110,
                "the MPI communicator cannot be loaded: %s; install Open MPI (Debian: libopenmpi3) and the %s that was "
                "built with this runtime, or start one rank",
                reason ? reason : kLibraryName, kLibraryName);
  }
  const auto function = reinterpret_cast<MpiTableFunction>(dlsym(handle, kMpiTableSymbol));
  table = function ? function() : nullptr;
  if (!table || table->version != kMpiTableVersion)
    return fail(kE5110, "%s has version %u of its table, this runtime needs %u; use the library of the same build",
                path ? path : kLibraryName, table ? table->version : 0, kMpiTableVersion);
  return {}; // the library stays loaded: MPI cannot be unloaded
}

} // namespace

Status makeMpiCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                           std::unique_ptr<Communicator> &communicator) {
  const MpiTable *table = nullptr;
  MORAY_TRY(loadTable(options.library, table));
  auto transport = std::make_unique<MpiTransport>(*table);
  MORAY_TRY(transport->open(options, watch));
  return makeHostCommunicator(options, placement, watch, std::move(transport), communicator);
}

} // namespace moray::rt::comm
