// Opens NCCL by name, and waits for it without blocking.
#include "runtime/comm/nccl_library.h"
#include "runtime/base/clock.h"
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <pthread.h>
#include <time.h>

namespace moray::rt::comm {

namespace {

constexpr uint64_t kPollNs = 1000000;
constexpr uint64_t kAbortNs = 1000000000;
constexpr uint64_t kGraceNs = 500000000; // for the rank at fault to speak

void sleepNs(long ns) {
  const struct timespec pause = {0, ns};
  nanosleep(&pause, nullptr);
}

// What an aborting thread needs after whoever started it has gone.
struct Aborting {
  NcclResult (*abort)(NcclComm);
  NcclComm comm;
  std::atomic<bool> done{false};
};

void *abortComm(void *argument) {
  const std::unique_ptr<std::shared_ptr<Aborting>> task(static_cast<std::shared_ptr<Aborting> *>(argument));
  (*task)->abort((*task)->comm); // a failure leaves nothing to be done
  (*task)->done.store(true);
  return nullptr;
}

// "2.28.9"
std::string versionName(int code) {
  const int major = code < 10000 ? code / 1000 : code / 10000;
  const int minor = code < 10000 ? code % 1000 / 100 : code % 10000 / 100;
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(code % 100);
}

} // namespace

Status NcclLink::check(NcclResult result, const char *what) const {
  if (result == kNcclSuccess || result == kNcclInProgress)
    return {};
  const char *text = table.getErrorString(result), *last = comm ? table.getLastError(comm) : nullptr;
  const char *advice = "set NCCL_DEBUG=WARN to have NCCL say more";
  if (result == kNcclInvalidUsage)
    advice = "give each rank a GPU of its own, and all ranks the same program";
  if (result == kNcclSystemError || result == kNcclRemoteError)
    advice = "see the other ranks, and NCCL_SOCKET_IFNAME for the network";
  return fail(kE5115, "NCCL: %s while %s%s%s; %s", text ? text : "an unknown error", what, last && *last ? ": " : "",
              last ? last : "", advice);
}

Status NcclLink::load() {
  const char *path = options.library ? options.library : "libnccl.so.2";
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *reason = dlerror();
    return fail(kE5110, "NCCL cannot be loaded: %s; install NCCL %s or newer, or give its path with --nccl-library",
                reason ? reason : path, versionName(kNcclOldest).c_str());
  }
  const char *missing = nullptr;
  void *address = nullptr;
#define MORAY_NCCL_FIND(member, symbol, result, parameters)                                                            \
  address = dlsym(handle, #symbol);                                                                                    \
  memcpy(&table.member, &address, sizeof(address));
#define MORAY_NCCL_NEED(member, symbol, result, parameters)                                                            \
  MORAY_NCCL_FIND(member, symbol, result, parameters)                                                                  \
  missing = address || missing ? missing : #symbol;
  MORAY_NCCL_SYMBOLS(MORAY_NCCL_NEED)
  MORAY_NCCL_OPTIONAL(MORAY_NCCL_FIND)
#undef MORAY_NCCL_NEED
#undef MORAY_NCCL_FIND
  if (missing)
    return fail(kE5110,
                "'%s' has no function %s: it is not NCCL, or older than %s; give the path of another with "
                "--nccl-library",
                path, missing, versionName(kNcclOldest).c_str());
  int version = 0;
  MORAY_TRY(check(table.getVersion(&version), "asking for its version"));
  if (version < kNcclOldest)
    return fail(kE5110,
                "'%s' is NCCL %s, this runtime needs %s; update it, or give the path of another with "
                "--nccl-library",
                path, versionName(version).c_str(), versionName(kNcclOldest).c_str());
  return {}; // stays loaded: NCCL keeps threads
}

// The agreement before the first step carries it.
Status NcclLink::shareId(NcclId &id) {
  std::vector<Bytes> payload(options.ranks);
  StepVote vote;
  StepDecision decision;
  if (options.rank == 0) {
    MORAY_TRY(check(table.getUniqueId(&id), "making an id for the group"));
    std::fill(payload.begin() + 1, payload.end(), Bytes(reinterpret_cast<const uint8_t *>(&id), sizeof(id)));
    vote.payload = {payload.data(), payload.size()};
  }
  MORAY_TRY(channel->agree(vote, decision));
  if (options.rank == 0)
    return {};
  if (decision.payload.size() != 1 || decision.payload[0].size() != sizeof(id))
    return fail(kE5113, "rank 0 sent no id of NCCL; start all ranks with the same options");
  memcpy(&id, decision.payload[0].data(), sizeof(id));
  return {};
}

Status NcclLink::open(const NcclOptions &given, ControlChannel &control) {
  options = given;
  channel = &control;
  for (uint32_t rank = 0; rank < options.ranks; ++rank)
    if (rank != options.rank)
      others.push_back(rank);
  MORAY_TRY(load());
  NcclId id;
  MORAY_TRY(shareId(id));
  NcclConfig config = {sizeof(config), kNcclConfigMagic, kNcclOldest, 0};
  const NcclResult result =
      table.commInitRankConfig(&comm, static_cast<int>(options.ranks), id, static_cast<int>(options.rank), &config);
  return settle(result, "starting", {0, -1, Operation::Load}, std::max<uint64_t>(5000, 3ull * options.deadlineMs));
}

Status NcclLink::watch(const Place &place, uint64_t sinceNs, bool overdue) {
  const Waiting waiting = {place, {others.data(), others.size()}, sinceNs};
  MORAY_TRY(channel->poll(waiting));
  return overdue && !others.empty() ? channel->stalled(waiting) : Status();
}

Status NcclLink::settle(NcclResult result, const char *what, const Place &place, uint64_t limitMs) {
  const uint64_t begun = nowNs();
  uint64_t asked = begun;
  for (long pause = 1000; result == kNcclInProgress; pause = std::min(2 * pause, 1000000L)) {
    MORAY_TRY(check(table.commGetAsyncError(comm, &result), what));
    if (result != kNcclInProgress)
      break;
    sleepNs(pause);
    const uint64_t now = nowNs();
    if (now - asked < kPollNs)
      continue;
    asked = now;
    MORAY_TRY(watch(place, begun, now - begun >= 1000000 * limitMs));
  }
  return check(result, what);
}

Status NcclLink::poll(const Place &place) {
  NcclResult result = kNcclSuccess;
  MORAY_TRY(check(table.commGetAsyncError(comm, &result), "asking for its state"));
  const uint64_t begun = nowNs();
  while (result == kNcclRemoteError && nowNs() - begun < kGraceNs) {
    MORAY_TRY(watch(place, begun, false));
    sleepNs(1000000);
  }
  return check(result, "exchanging rows");
}

Status NcclLink::registerMemory(void *address, uint64_t bytes) {
  if (!table.windowRegister || !table.windowDeregister)
    return {};
  NcclWindow window = nullptr;
  const NcclResult result = table.windowRegister(comm, address, bytes, &window, 0);
  if (result == kNcclInvalidArgument || result == kNcclInvalidUsage)
    return {}; // memory of this kind cannot be registered, on any rank
  MORAY_TRY(settle(result, "registering memory", {0, -1, Operation::Load}, options.deadlineMs));
  if (window)
    windows.push_back(window);
  return {};
}

Status NcclLink::exchange(Span<const Blocks> blocks, NcclStream stream, const Place &place) {
  const char *what = "enqueueing an exchange";
  MORAY_TRY(check(table.groupStart(), what));
  NcclResult worst = kNcclSuccess;
  auto note = [&worst](NcclResult result) {
    if (worst == kNcclSuccess && result != kNcclInProgress)
      worst = result;
  };
  for (const Blocks &block : blocks) {
    if (exchangesOwn()) {
      note(table.alltoAll(block.send, block.receive, block.bytes, kNcclUint8, comm, stream));
      continue;
    }
    for (uint32_t peer : others) {
      const uint64_t offset = peer * block.bytes;
      note(table.send(static_cast<uint8_t *>(block.send) + offset, block.bytes, kNcclUint8, static_cast<int>(peer),
                      comm, stream));
      note(table.recv(static_cast<uint8_t *>(block.receive) + offset, block.bytes, kNcclUint8, static_cast<int>(peer),
                      comm, stream));
    }
  }
  const NcclResult ended = table.groupEnd(); // also after an error, so that no group stays open
  MORAY_TRY(check(worst, what));
  return settle(ended, what, place, options.deadlineMs);
}

void NcclLink::abort() {
  if (!comm)
    return;
  auto task = std::make_shared<Aborting>();
  task->abort = table.commAbort;
  task->comm = comm;
  comm = nullptr;
  auto *argument = new std::shared_ptr<Aborting>(task);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, abortComm, argument) != 0) {
    delete argument;
    return;
  }
  pthread_detach(thread);
  for (const uint64_t begun = nowNs(); !task->done.load() && nowNs() - begun < kAbortNs;)
    sleepNs(100000);
}

Status NcclLink::close() {
  const Place place = {0, -1, Operation::Shutdown};
  for (NcclWindow window : windows)
    MORAY_TRY(settle(table.windowDeregister(comm, window), "releasing memory", place, options.deadlineMs));
  windows.clear();
  MORAY_TRY(settle(table.commFinalize(comm), "ending", place, options.deadlineMs));
  const NcclResult result = table.commDestroy(comm);
  comm = nullptr;
  return check(result, "ending");
}

NcclLink::~NcclLink() { abort(); }

} // namespace moray::rt::comm
