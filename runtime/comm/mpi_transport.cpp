// Opens libmoray_comm_mpi.so and makes a transport of its table.
#include "runtime/comm/host_communicator.h"
#include "runtime/comm/mpi_table.h"
#include <dlfcn.h>
#include <string>

namespace moray::rt::comm {

namespace {

constexpr char kLibraryName[] = "libmoray_comm_mpi.so";

class MpiTransport final : public Transport {
public:
  explicit MpiTransport(const MpiTable &table) : table(table) {}

  Status open(const CommunicatorOptions &options) {
    uint32_t rank = 0, ranks = 0;
    if (const int result = table.open(options.startMs, &rank, &ranks))
      return error(result, "MPI does not start");
    if (rank != options.rank || ranks != options.ranks)
      return fail(
          kE5101,
          "MPI says that this is rank %u of %u, the launcher's variables say rank %u of %u; start all ranks with "
          "the mpirun of the MPI library that %s is linked to",
          rank, ranks, options.rank, options.ranks, kLibraryName);
    return {};
  }

  Status begin(Span<const Piece> sends, Span<const Piece> receives, uint32_t sequence) override {
    return error(table.begin(sends.data(), sends.size(), receives.data(), receives.size(), sequence), "exchange");
  }
  Status progress(bool &done) override {
    int finished = 0;
    const int result = table.progress(&finished);
    done = finished != 0;
    return error(result, "exchange");
  }
  uint32_t missing(uint32_t *peers, uint32_t capacity) override { return table.missing(peers, capacity); }
  void abandon() override { table.abandon(); }
  Status close(uint32_t deadlineMs) override { return error(table.close(deadlineMs), "MPI does not end"); }

private:
  Status error(int result, const char *what) const {
    switch (result) {
    case kMpiOk:
      return {};
    case kMpiLate:
      return fail(kE5107, "%s: %s; a rank is stopped, or too slow for the deadline", what, table.lastError());
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

Status makeMpiCommunicator(const CommunicatorOptions &options, const Placement &placement, Watch *watch,
                           std::unique_ptr<Communicator> &communicator) {
  const MpiTable *table = nullptr;
  MORAY_TRY(loadTable(options.library, table));
  auto transport = std::make_unique<MpiTransport>(*table);
  MORAY_TRY(transport->open(options));
  return makeHostCommunicator(options, placement, watch, std::move(transport), communicator);
}

} // namespace moray::rt::comm
