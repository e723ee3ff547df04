// Sockets and files of the rendezvous.
#include "runtime/comm/rendezvous.h"
#include "runtime/base/clock.h"
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace moray::rt::comm {

namespace {

constexpr char kFilePrefix[] = "file:";
constexpr char kFileFormat[] = "moray-rendezvous 1 port %u ranks %u process %d secret %" PRIx64 " %" PRIx64 "\n";
constexpr char kFileScan[] = "moray-rendezvous 1 port %u ranks %u process %d secret %" SCNx64 " %" SCNx64;

const char *filePath(const char *rendezvous) {
  return strncmp(rendezvous, kFilePrefix, sizeof(kFilePrefix) - 1) == 0 ? rendezvous + sizeof(kFilePrefix) - 1
                                                                        : nullptr;
}

struct FileText {
  unsigned port = 0, ranks = 0;
  int process = 0;
  Secret secret;
};

// A file of this user with the expected line; 5103 otherwise. `found` is false where there is no file.
Status parseFile(const char *path, FileText &text, bool &found) {
  const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  found = fd >= 0;
  if (fd < 0 && errno == ENOENT)
    return {};
  if (fd < 0)
    return fail(kE5103, "the rendezvous file %s cannot be read: %s; delete it or name another", path, strerror(errno));
  char line[256] = "";
  struct stat about = {};
  const bool ours = fstat(fd, &about) == 0 && about.st_uid == geteuid();
  const ssize_t size = read(fd, line, sizeof(line) - 1);
  close(fd);
  if (!ours)
    return fail(kE5103, "the rendezvous file %s belongs to another user; name a file of your own", path);
  line[size < 0 ? 0 : size] = 0;
  if (sscanf(line, kFileScan, &text.port, &text.ranks, &text.process, &text.secret.words[0], &text.secret.words[1]) !=
          5 ||
      text.port == 0 || text.port > 65535)
    return fail(kE5103, "%s is not a rendezvous file of Moray; delete it or name another", path);
  return {};
}

// HOST:PORT or [HOST]:PORT.
Status splitAddress(const char *text, std::string &host, std::string &port) {
  const char *colon = strrchr(text, ':');
  char *end = nullptr;
  const unsigned long number = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
  if (!colon || colon == text || number == 0 || number > 65535 || *end)
    return fail(kE5101,
                "the rendezvous '%.100s' is neither HOST:PORT nor file:PATH; give the address where rank 0 runs", text);
  host.assign(text, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  port = colon + 1;
  return {};
}

void prepare(int fd) {
  const int on = 1;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// Rank 0 listens on all its addresses, as its own name often means 127.0.1.1 to itself, unless asked for loopback.
bool isLoopback(const std::string &host) { return host == "localhost" || host == "127.0.0.1" || host == "::1"; }

void loopback(uint16_t port, struct sockaddr_storage &address, socklen_t &bytes) {
  struct sockaddr_in inet = {};
  inet.sin_family = AF_INET;
  inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  inet.sin_port = htons(port);
  memcpy(&address, &inet, sizeof(inet));
  bytes = sizeof(inet);
}

} // namespace

Status Listener::open(const char *rendezvous, uint32_t ranks) {
  if (const char *path = filePath(rendezvous))
    return openFile(path, ranks);
  std::string host, port;
  MORAY_TRY(splitAddress(rendezvous, host, port));
  struct addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = isLoopback(host) ? 0 : AI_PASSIVE;
  if (const int code = getaddrinfo(isLoopback(host) ? host.c_str() : nullptr, port.c_str(), &hints, &found))
    return fail(kE5102, "rank 0 cannot listen at %s: %s", rendezvous, gai_strerror(code));
  descriptor = socket(found->ai_family, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool listens = descriptor >= 0 && bind(descriptor, found->ai_addr, found->ai_addrlen) == 0 &&
                       listen(descriptor, static_cast<int>(ranks) + 16) == 0;
  const int problem = errno;
  freeaddrinfo(found);
  if (!listens)
    return fail(kE5102, "rank 0 of %u cannot listen at %s: %s; give all ranks another port", ranks, rendezvous,
                problem == EADDRINUSE ? "another program has this port" : strerror(problem));
  prepare(descriptor);
  return {};
}

Status Listener::openFile(const char *path, uint32_t ranks) {
  struct sockaddr_storage address = {};
  socklen_t bytes = 0;
  loopback(0, address, bytes);
  descriptor = socket(AF_INET, SOCK_STREAM, 0);
  if (descriptor < 0 || bind(descriptor, reinterpret_cast<struct sockaddr *>(&address), bytes) != 0 ||
      listen(descriptor, static_cast<int>(ranks) + 16) != 0 ||
      getsockname(descriptor, reinterpret_cast<struct sockaddr *>(&address), &bytes) != 0)
    return fail(kE5102, "rank 0 of %u cannot listen on this host: %s", ranks, strerror(errno));
  prepare(descriptor);
  if (getrandom(&word, sizeof(word), 0) != sizeof(word))
    return fail(kE5102, "the system gives no random bytes for the group: %s", strerror(errno));
  const std::string draft = std::string(path) + "." + std::to_string(getpid());
  const int fd = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(kE5103, "rank 0 cannot write the rendezvous file %s: %s; name one in a folder that exists",
                draft.c_str(), strerror(errno));
  const unsigned port = ntohs(reinterpret_cast<struct sockaddr_in *>(&address)->sin_port);
  const bool written =
      dprintf(fd, kFileFormat, port, ranks, static_cast<int>(getpid()), word.words[0], word.words[1]) > 0;
  // A link appears whole and only where there was none.
  const int problem = ::close(fd) == 0 && written && link(draft.c_str(), path) == 0 ? 0 : errno;
  unlink(draft.c_str());
  if (problem == 0)
    file = path;
  if (problem == 0 || problem != EEXIST)
    return problem == 0 ? Status()
                        : fail(kE5103, "rank 0 cannot write the rendezvous file %s: %s", path, strerror(problem));
  FileText old;
  bool found = false;
  MORAY_TRY(parseFile(path, old, found));
  const bool runs = kill(old.process, 0) == 0 || errno == EPERM;
  return fail(kE5103, "the rendezvous file %s was left by process %d, which %s; %s", path, old.process,
              runs ? "still runs" : "has ended", runs ? "name another file" : "delete it and start again");
}

int Listener::accept() {
  const int fd = ::accept(descriptor, nullptr, nullptr);
  if (fd >= 0)
    prepare(fd);
  return fd;
}

void Listener::close() {
  if (!file.empty())
    unlink(file.c_str());
  file.clear();
  if (descriptor >= 0)
    ::close(descriptor);
  descriptor = -1;
}

Status Connector::readFile(const char *path, bool &found) {
  FileText text;
  MORAY_TRY(parseFile(path, text, found));
  if (!found)
    return {};
  if (text.ranks != ranks)
    return fail(kE5105,
                "the rendezvous file %s of process %d is for %u ranks, but rank %u counts %u; delete the file if "
                "no other group runs, and start all ranks together",
                path, text.process, text.ranks, rank, ranks);
  loopback(static_cast<uint16_t>(text.port), address, addressBytes);
  word = text.secret;
  return {};
}

Status Connector::resolve(bool &found) {
  if (const char *path = filePath(rendezvous))
    return readFile(path, found);
  found = known;
  if (known)
    return {};
  std::string host, port;
  MORAY_TRY(splitAddress(rendezvous, host, port));
  struct addrinfo hints = {}, *answer = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &answer) != 0)
    return {}; // names may appear late
  memcpy(&address, answer->ai_addr, answer->ai_addrlen);
  addressBytes = answer->ai_addrlen;
  freeaddrinfo(answer);
  found = true;
  return {};
}

Status Connector::late() const {
  const char *path = filePath(rendezvous);
  if (path && known)
    return fail(kE5103,
                "rank %u found the rendezvous file %s, but no rank 0 listens at its port; delete the file if it is "
                "left from an earlier run, and start all ranks together",
                rank, path);
  return fail(kE5104, "rank %u of %u found no rank 0 at %s in time; %s", rank, ranks, rendezvous,
              path || known ? "see what rank 0 says, and start all ranks together"
                            : "the name of the host is not known");
}

Status Connector::connect(uint64_t endNs, int &descriptor) {
  for (;;) {
    bool found = false;
    MORAY_TRY(resolve(found));
    known = known || found;
    descriptor = found ? socket(address.ss_family, SOCK_STREAM, 0) : -1;
    if (descriptor >= 0) {
      prepare(descriptor);
      int problem = ::connect(descriptor, reinterpret_cast<struct sockaddr *>(&address), addressBytes) == 0 ? 0 : errno;
      const uint64_t now = nowNs();
      struct pollfd wait = {descriptor, POLLOUT, 0};
      if (problem == EINPROGRESS && poll(&wait, 1, now < endNs ? static_cast<int>((endNs - now) / 1000000) : 0) == 1) {
        socklen_t bytes = sizeof(problem);
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &problem, &bytes);
      }
      if (problem == 0)
        return {};
      close(descriptor);
    }
    if (nowNs() >= endNs || (cancel && *cancel))
      return late();
    const struct timespec pause = {0, 20000000};
    nanosleep(&pause, nullptr);
  }
}

} // namespace moray::rt::comm
