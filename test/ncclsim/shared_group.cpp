// Making, opening and mapping the memory of a group.
#include "test/ncclsim/shared_group.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ncclsim {
namespace {

constexpr char magic[16] = "moray-ncclsim 1";

// The content of an id.
struct Name {
  char magic[16];
  uint64_t token;
  int32_t process, file;
};

bool systemFails(const char *what, std::string &problem) {
  problem = std::string(what) + ": " + strerror(errno);
  return false;
}

} // namespace

// The file begins with it; zero until somebody fills it in.
struct SharedGroup::Header {
  char magic[16];
  uint64_t token;
  std::atomic<int32_t> ranks;
  std::atomic<int32_t> here;
  std::atomic<uint32_t> states[maxRanks];
};

bool SharedGroup::makeId(char (&id)[128], std::string &problem) {
  static_assert(sizeof(Header) <= 4096 && sizeof(Name) <= sizeof(id));
  Name name = {};
  memcpy(name.magic, magic, sizeof magic);
  name.process = getpid();
  name.file = memfd_create("moray-ncclsim", MFD_CLOEXEC);
  if (name.file < 0 || getrandom(&name.token, sizeof name.token, 0) != ssize_t(sizeof name.token))
    return systemFails("memfd_create, getrandom", problem);
  if (pwrite(name.file, &name, offsetof(Name, process), 0) != ssize_t(offsetof(Name, process)))
    return systemFails("writing shared memory", problem);
  memset(id, 0, sizeof id);
  memcpy(id, &name, sizeof name);
  return true;
}

bool SharedGroup::attach(const char (&id)[128], int count, int rank, std::string &problem) {
  Name name;
  memcpy(&name, id, sizeof name);
  if (memcmp(name.magic, magic, sizeof magic) != 0) {
    problem = "the unique id is not from this library's ncclGetUniqueId";
    return false;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", name.process, name.file);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0)
    return systemFails("the process that made the unique id has gone", problem);
  struct stat status = {};
  const size_t need = 4096 + size_t(count) * size_t(count) * sizeof(Mailbox);
  void *memory = MAP_FAILED;
  if (fstat(file, &status) == 0 && (size_t(status.st_size) >= need || ftruncate(file, off_t(need)) == 0))
    memory = mmap(nullptr, need, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (memory == MAP_FAILED)
    return systemFails("mapping shared memory", problem);
  header = static_cast<Header *>(memory);
  mailboxes = reinterpret_cast<Mailbox *>(static_cast<char *>(memory) + 4096);
  bytes = need;
  ranks = count;
  int32_t nobody = 0;
  if (memcmp(header->magic, magic, sizeof magic) != 0 || header->token != name.token)
    problem = "the unique id is of another group";
  else if (!header->ranks.compare_exchange_strong(nobody, count) && nobody != count)
    problem = "this rank says " + std::to_string(count) + " ranks, another one " + std::to_string(nobody);
  else if (uint32_t absent = Absent; !header->states[rank].compare_exchange_strong(absent, Attached))
    problem = "two ranks have the number " + std::to_string(rank);
  if (!problem.empty()) {
    close();
    return false;
  }
  ownFile = name.process == getpid() ? name.file : -1;
  ++header->here;
  return true;
}

bool SharedGroup::everybodyIsHere() {
  if (header->here != ranks)
    return false;
  if (ownFile >= 0)
    ::close(ownFile);
  ownFile = -1;
  return true;
}

void SharedGroup::close() {
  if (header)
    munmap(header, bytes);
  header = nullptr;
  mailboxes = nullptr;
}

RankState SharedGroup::state(int rank) const { return RankState(header->states[rank].load(std::memory_order_acquire)); }

void SharedGroup::setState(int rank, RankState state) {
  // What failed first is what counts.
  uint32_t before = header->states[rank];
  while (before < state && !header->states[rank].compare_exchange_weak(before, state)) {
  }
}

} // namespace ncclsim
