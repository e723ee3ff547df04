// Ranks of a simulated group as forked processes, each with the simulated driver and NCCL of its own.
#pragma once

#include "test/gpusim/driver/entry_points.h"
#include "test/gpusim/driver/gpusim_api.h"
#include "test/ncclsim/nccl_abi.h"

#include <cstdio>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace ncclsim {

/// Both libraries' functions; null where a library lacks one.
struct Libraries {
#define NCCLSIM_MEMBER(result, name, parameters) result(*name) parameters = nullptr;
  NCCLSIM_ENTRY_POINTS(NCCLSIM_MEMBER)
  NCCLSIM_NEW_ENTRY_POINTS(NCCLSIM_MEMBER)
#undef NCCLSIM_MEMBER
#define NCCLSIM_MEMBER(name, parameters) gpusim::entry::name *name = nullptr;
  GPUSIM_ENTRY_POINTS(NCCLSIM_MEMBER)
#undef NCCLSIM_MEMBER
  decltype(&::moray_gpusim_reports) reports = nullptr;
};

/// Loads NCCL, and with `driver` the simulated GPU before it.
Libraries loadLibraries(bool driver, const char *nccl = "moray_ncclsim");

using Words = std::vector<uint32_t>;

/// One rank. The constructor makes a context and two streams; join makes the communicator.
class Rank : public Libraries {
public:
  Rank(int rank, int ranks, const ncclUniqueId &id);
  bool join(bool blocking = false);
  /// Polls until the communicator is no longer in progress; gives up after some seconds with ncclInProgress.
  ncclResult_t settle();
  /// Polls the stream; false after some seconds. Looks for asynchronous errors meanwhile and ends with one, too.
  bool wait(gpusim::CUstream stream, ncclResult_t *error = nullptr);
  void *memory(size_t words);
  void *memory(const Words &values);
  Words read(const void *address, size_t count);
  std::string allReports();
  /// Finalises and destroys; true if all went well.
  bool leave();
  /// Sends `words` to every rank and receives as many, as one group.
  ncclResult_t allToAll(const Words &values, void *&received, gpusim::CUstream stream);
  /// Counts and prints a failure unless `good`.
  void check(bool good, const char *text, int line);

  const int rank, ranks;
  const ncclUniqueId id;
  ncclComm_t comm = nullptr;
  gpusim::CUstream stream = nullptr, other = nullptr;
  int failures = 0;
};

#define CHECK(condition) it.check(condition, #condition, __LINE__)

/// How a rank's process ended.
struct Ended {
  int failures = 0; // of CHECK
  int signal = 0;
};

/// Runs the body in a process for each rank and waits; a rank that does not end in time is killed and counts as a
/// failure. `fault` is MORAY_NCCLSIM_FAULT; stopped ranks are killed once the others have ended.
std::vector<Ended> runRanks(int ranks, const std::function<void(Rank &)> &body, const char *fault = "");
/// The same for bodies without planted deaths: expects that all end well.
void expectRanks(int ranks, const std::function<void(Rank &)> &body, const char *fault = "");

} // namespace ncclsim
