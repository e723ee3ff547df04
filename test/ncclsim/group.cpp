// Groups of calls, one at a time on each thread, and the list of communicators.
#include "test/ncclsim/communicator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace ncclsim {
namespace {

struct Group {
  unsigned depth = 0;
  std::vector<Task> tasks;
  ncclResult_t error = ncclSuccess; // the first one of its calls
};

Group &group() {
  thread_local Group ofThread;
  return ofThread;
}

std::mutex listMutex;
std::vector<std::unique_ptr<Communicator>> &communicators() {
  static auto *list = new std::vector<std::unique_ptr<Communicator>>;
  return *list;
}

std::mutex refusalMutex;
char refusal[512] = "";

} // namespace

bool isLogging() {
  const char *value = getenv("MORAY_NCCLSIM_LOG");
  return value && strcmp(value, "0") != 0;
}

ncclResult_t refuse(ncclResult_t error, const std::string &text) {
  std::lock_guard<std::mutex> lock(refusalMutex);
  snprintf(refusal, sizeof refusal, "%s", text.c_str());
  if (isLogging())
    fprintf(stderr, "ncclsim: result %d: %s\n", error, text.c_str());
  return error;
}

const char *lastRefusal() { return refusal; }

bool isLive(ncclComm_t comm) {
  std::lock_guard<std::mutex> lock(listMutex);
  for (const std::unique_ptr<Communicator> &entry : communicators())
    if (entry.get() == comm)
      return comm->live;
  return false;
}

ncclComm_t addCommunicator(std::unique_ptr<Communicator> comm) {
  std::lock_guard<std::mutex> lock(listMutex);
  communicators().push_back(std::move(comm));
  return communicators().back().get();
}

bool inGroup() { return group().depth > 0; }

ncclResult_t groupStart() {
  ++group().depth;
  return ncclSuccess;
}

ncclResult_t groupEnd() {
  Group &mine = group();
  if (mine.depth == 0)
    return refuse(ncclInvalidUsage, "ncclGroupEnd: not in a group call.");
  if (--mine.depth > 0)
    return ncclSuccess;
  std::vector<Task> tasks = std::exchange(mine.tasks, {});
  ncclResult_t result = std::exchange(mine.error, ncclSuccess);
  while (!tasks.empty() && (result == ncclSuccess || result == ncclInProgress)) {
    // One operation for each communicator; a group inside one process may have several.
    const ncclComm_t comm = tasks.front().comm;
    std::vector<Task> its, rest;
    for (Task &task : tasks)
      (task.comm == comm ? its : rest).push_back(task);
    tasks = std::move(rest);
    if (ncclResult_t issued = comm->issue(its))
      result = issued;
  }
  return result;
}

ncclResult_t addTask(const Task &task) {
  groupStart();
  Group &mine = group();
  ncclResult_t result = ncclSuccess;
  const bool paired = task.kind == Kind::Send || task.kind == Kind::Recv;
  if (!isLive(task.comm))
    result = refuse(ncclInvalidArgument, std::string(nameOf(task.kind)) + ": no such communicator");
  else if (sizeOf(task.type) == 0)
    result = refuse(ncclInvalidArgument, std::string(nameOf(task.kind)) + ": no such type");
  else if (task.peer < 0 || task.peer >= task.comm->ranks)
    result = refuse(ncclInvalidArgument, std::string(nameOf(task.kind)) + ": no rank " + std::to_string(task.peer));
  else
    result = task.comm->checkReady();
  if (result == ncclSuccess && (paired || task.count > 0)) // empty collectives are nothing
    mine.tasks.push_back(task);
  if (result != ncclSuccess && mine.error == ncclSuccess)
    mine.error = result;
  const ncclResult_t ended = groupEnd();
  return result != ncclSuccess ? result : ended;
}

} // namespace ncclsim
