// Loading, forking and waiting of the ranks in tests.
#include "test/Unit/NcclSim/rank_process.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <dlfcn.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace ncclsim {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::seconds(20);

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

void *open(const std::string &name) {
  void *library = dlopen((MORAY_BINARY_DIR "/lib/lib" + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return library;
}

} // namespace

Libraries loadLibraries(bool driver, const char *nccl) {
  Libraries table;
  if (driver) {
    void *library = open("moray_gpusim");
#define NCCLSIM_LOAD(name, parameters) table.name = reinterpret_cast<decltype(table.name)>(dlsym(library, #name));
    GPUSIM_ENTRY_POINTS(NCCLSIM_LOAD)
#undef NCCLSIM_LOAD
    table.reports = reinterpret_cast<decltype(table.reports)>(dlsym(library, "moray_gpusim_reports"));
  }
  void *library = open(nccl);
#define NCCLSIM_LOAD(result, name, parameters)                                                                         \
  table.name = reinterpret_cast<decltype(table.name)>(dlsym(library, #name));
  NCCLSIM_ENTRY_POINTS(NCCLSIM_LOAD)
  NCCLSIM_NEW_ENTRY_POINTS(NCCLSIM_LOAD)
#undef NCCLSIM_LOAD
  return table;
}

Rank::Rank(int rank, int ranks, const ncclUniqueId &id)
    : Libraries(loadLibraries(true)), rank(rank), ranks(ranks), id(id) {
  gpusim::CUcontext context = nullptr;
  Rank &it = *this;
  CHECK(cuInit(0) == 0 && cuDevicePrimaryCtxRetain(&context, 0) == 0 && cuCtxSetCurrent(context) == 0);
  CHECK(cuStreamCreate(&stream, gpusim::CU_STREAM_NON_BLOCKING) == 0);
  CHECK(cuStreamCreate(&other, gpusim::CU_STREAM_NON_BLOCKING) == 0);
}

void Rank::check(bool good, const char *text, int line) {
  if (good)
    return;
  ++failures;
  fprintf(stderr, "rank %d, line %d: %s\n", rank, line, text);
}

bool Rank::join(bool blocking) {
  ncclConfig_t config = {sizeof config, configMagic, 22809, blocking ? 1 : 0};
  ncclResult_t result = ncclCommInitRankConfig(&comm, ranks, id, rank, &config);
  return result == (blocking ? ncclSuccess : ncclInProgress) && settle() == ncclSuccess;
}

ncclResult_t Rank::settle() {
  ncclResult_t state = ncclInProgress;
  for (auto end = Clock::now() + patience; state == ncclInProgress && Clock::now() < end; nap())
    if (ncclResult_t result = ncclCommGetAsyncError(comm, &state))
      return result;
  return state;
}

bool Rank::wait(gpusim::CUstream which, ncclResult_t *error) {
  for (auto end = Clock::now() + patience; Clock::now() < end; nap()) {
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm, &state) == ncclSuccess && state != ncclSuccess && state != ncclInProgress) {
      if (error)
        *error = state;
      return error != nullptr;
    }
    // The stream may know of a fault before the communicator does.
    if (int result = cuStreamQuery(which); result == 0 || (result != gpusim::CUDA_ERROR_NOT_READY && !error))
      return result == 0;
  }
  return false;
}

void *Rank::memory(size_t words) {
  gpusim::CUdeviceptr address = 0;
  check(cuMemAlloc_v2(&address, words * 4) == 0, "cuMemAlloc", __LINE__);
  return reinterpret_cast<void *>(address);
}

void *Rank::memory(const Words &values) {
  void *made = memory(values.size());
  check(cuMemcpyHtoD_v2(reinterpret_cast<uint64_t>(made), values.data(), values.size() * 4) == 0, "copy", __LINE__);
  return made;
}

Words Rank::read(const void *address, size_t count) {
  Words values(count);
  int result = cuMemcpyDtoH_v2(values.data(), reinterpret_cast<uint64_t>(address), count * 4);
  check(result == 0, "cuMemcpyDtoH", __LINE__);
  return values;
}

std::string Rank::allReports() {
  std::vector<char> text(reports(nullptr, 0));
  reports(text.data(), text.size());
  return text.data();
}

bool Rank::leave() {
  ncclResult_t result = ncclCommFinalize(comm);
  return (result == ncclSuccess || result == ncclInProgress) && settle() == ncclSuccess &&
         ncclCommDestroy(comm) == ncclSuccess;
}

ncclResult_t Rank::allToAll(const Words &values, void *&received, gpusim::CUstream which) {
  void *from = memory(values);
  const size_t each = values.size() / size_t(ranks);
  received = memory(values.size());
  ncclGroupStart();
  for (int peer = 0; peer < ranks; ++peer) {
    ncclSend(static_cast<uint32_t *>(from) + size_t(peer) * each, each, ncclInt32, peer, comm, which);
    ncclRecv(static_cast<uint32_t *>(received) + size_t(peer) * each, each, ncclInt32, peer, comm, which);
  }
  return ncclGroupEnd();
}

std::vector<Ended> runRanks(int ranks, const std::function<void(Rank &)> &body, const char *fault) {
  static const Libraries parent = loadLibraries(false);
  ncclUniqueId id = {};
  EXPECT_EQ(ncclSuccess, parent.ncclGetUniqueId(&id));
  std::vector<pid_t> processes;
  for (int rank = 0; rank < ranks; ++rank) {
    processes.push_back(fork());
    if (processes.back() != 0)
      continue;
    setenv("MORAY_NCCLSIM_FAULT", fault, 1);
    Rank it(rank, ranks, id);
    body(it);
    fflush(nullptr);
    _exit(it.failures);
  }
  std::vector<Ended> ended(size_t(ranks), {-1, 0});
  int running = ranks;
  auto collect = [&](bool stopped) {
    for (size_t rank = 0; rank < size_t(ranks); ++rank) {
      int status = 0;
      if (ended[rank].failures != -1 || waitpid(processes[rank], &status, WNOHANG | (stopped ? WUNTRACED : 0)) <= 0)
        continue;
      if (WIFSTOPPED(status)) {
        kill(processes[rank], SIGKILL);
        waitpid(processes[rank], &status, 0);
        ended[rank] = {0, SIGSTOP};
      } else {
        ended[rank] = {WIFEXITED(status) ? WEXITSTATUS(status) : 0, WIFSIGNALED(status) ? WTERMSIG(status) : 0};
      }
      --running;
    }
  };
  bool stops = std::string(fault).rfind("stop@", 0) == 0;
  for (auto end = Clock::now() + 3 * patience; running > 0 && Clock::now() < end; nap())
    collect(stops && running == 1);
  for (size_t rank = 0; rank < size_t(ranks); ++rank)
    if (ended[rank].failures == -1) {
      ADD_FAILURE() << "rank " << rank << " does not end";
      kill(processes[rank], SIGKILL);
      waitpid(processes[rank], nullptr, 0);
    }
  return ended;
}

void expectRanks(int ranks, const std::function<void(Rank &)> &body, const char *fault) {
  for (const Ended &ended : runRanks(ranks, body, fault)) {
    EXPECT_EQ(0, ended.failures);
    EXPECT_EQ(0, ended.signal);
  }
}

} // namespace ncclsim
