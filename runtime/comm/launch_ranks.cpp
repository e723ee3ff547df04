// Reads from the launcher's variables which rank this process is, and where ranks of one host meet.
#include "runtime/comm/control_channel.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>

namespace moray::rt::comm {

namespace {

struct Launcher {
  const char *name, *rank, *ranks;
  const char *localRank, *localRanks; // on this host; null where there is no such variable
  const char *job;                    // what only ranks of one job share
  const char *folder; // of the job on this host, which the launcher deletes even where all ranks were killed
};

// The first that is complete counts. Slurm comes last: under mpirun its variables are those of the daemons.
const Launcher kLaunchers[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE", "PMIX_SERVER_TMPDIR"},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", nullptr, nullptr, nullptr},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", nullptr},
    {"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_ID",
     nullptr},
};
constexpr size_t kSlurm = 3;

const char *variable(const char *name) {
  const char *value = name ? getenv(name) : nullptr;
  return value && *value ? value : nullptr;
}

Status parse(const char *name, const char *text, uint32_t &value) {
  char *end = nullptr;
  errno = 0;
  const unsigned long number = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno || number > kMaxRanks)
    return fail(kE5101, "the variable %s is '%.40s', not a number up to %u; start the ranks with the launcher alone",
                name, text, kMaxRanks);
  value = static_cast<uint32_t>(number);
  return {};
}

// found.ranks stays 0 where the launcher's variables are not set.
Status readLauncher(const Launcher &launcher, LaunchRanks &found) {
  const char *rank = variable(launcher.rank), *ranks = variable(launcher.ranks);
  found.ranks = 0;
  if (!rank && !ranks)
    return {};
  if (!rank || !ranks)
    return fail(kE5101, "the variable %s is set, but %s is not; %s sets both: start the ranks with it, or unset both",
                rank ? launcher.rank : launcher.ranks, rank ? launcher.ranks : launcher.rank, launcher.name);
  MORAY_TRY(parse(launcher.rank, rank, found.rank));
  MORAY_TRY(parse(launcher.ranks, ranks, found.ranks));
  if (found.rank >= found.ranks)
    return fail(kE5101, "%s is %u and %s is %u, but ranks count from 0 to %s - 1", launcher.rank, found.rank,
                launcher.ranks, found.ranks, launcher.ranks);
  found.localRank = found.rank;
  if (const char *local = variable(launcher.localRank))
    MORAY_TRY(parse(launcher.localRank, local, found.localRank));
  snprintf(found.launcher, sizeof(found.launcher), "%s", launcher.name);
  return {};
}

// Slurm may start processes without a step (a batch script): then its variables say nothing about ranks.
bool speaks(size_t launcher) {
  return launcher != kSlurm || (variable(kLaunchers[kSlurm].rank) && variable(kLaunchers[kSlurm].ranks));
}

Status chooseLauncher(LaunchRanks &found, size_t &chosen) {
  const size_t count = sizeof(kLaunchers) / sizeof(*kLaunchers);
  chosen = count;
  for (size_t i = 0; i < count; ++i) {
    LaunchRanks other;
    if (!speaks(i) || (i == kSlurm && chosen != count))
      continue;
    MORAY_TRY(readLauncher(kLaunchers[i], other));
    if (other.ranks == 0)
      continue;
    if (chosen != count && (other.rank != found.rank || other.ranks != found.ranks))
      return fail(
          kE5101,
          "%s=%u and %s=%u say rank %u of %u, but %s=%u and %s=%u say rank %u of %u; unset the variables of the "
          "launcher that did not start this process",
          kLaunchers[chosen].rank, found.rank, kLaunchers[chosen].ranks, found.ranks, found.rank, found.ranks,
          kLaunchers[i].rank, other.rank, kLaunchers[i].ranks, other.ranks, other.rank, other.ranks);
    if (chosen == count) {
      found = other;
      chosen = i;
    }
  }
  return {};
}

// Ranks of one host meet at a file whose name only they share.
void fileRendezvous(const Launcher &launcher, LaunchRanks &found) {
  const char *job = variable(launcher.job), *local = variable(launcher.localRanks);
  const char *folder = variable(launcher.folder);
  if (!folder || strlen(folder) > 100)
    folder = variable("TMPDIR");
  if (launcher.localRanks && local && strcmp(local, std::to_string(found.ranks).c_str()) != 0)
    return; // several hosts
  std::string key = job ? job : "parent" + std::to_string(getppid());
  if (const char *slurmJob = variable("SLURM_JOB_ID"); slurmJob && &launcher == &kLaunchers[kSlurm])
    key = std::string(slurmJob) + "." + key;
  for (char &c : key)
    if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '.')
      c = '-';
  snprintf(found.rendezvous, sizeof(found.rendezvous), "file:%.100s/moray-%u-%.80s", folder ? folder : "/tmp", getuid(),
           key.c_str());
}

} // namespace

Status findRanks(uint32_t expected, LaunchRanks &found) {
  size_t chosen = 0;
  found = LaunchRanks();
  MORAY_TRY(chooseLauncher(found, chosen));
  if (expected != 0 && expected != found.ranks)
    return fail(kE5101, "%u ranks were asked for, but %s started %u; start as many processes as ranks", expected,
                strcmp(found.launcher, "none") == 0 ? "no launcher was used, which" : found.launcher, found.ranks);
  if (found.ranks == 1)
    return {};
  const char *address = variable("MASTER_ADDR"), *port = variable("MASTER_PORT");
  if ((address != nullptr) != (port != nullptr))
    return fail(kE5101, "the variable %s is set, but %s is not; set both to where rank 0 runs, or none",
                address ? "MASTER_ADDR" : "MASTER_PORT", address ? "MASTER_PORT" : "MASTER_ADDR");
  if (address)
    snprintf(found.rendezvous, sizeof(found.rendezvous), strchr(address, ':') ? "[%.200s]:%.20s" : "%.200s:%.20s",
             address, port);
  else
    fileRendezvous(kLaunchers[chosen], found);
  return {};
}

} // namespace moray::rt::comm
