// How ranks find rank 0: an address and port, or a file that rank 0 writes on a host that all share.
#pragma once
#include "runtime/base/status.h"
#include <cstdint>
#include <string>
#include <sys/socket.h>

namespace moray::rt::comm {

// Keeps strangers out of the group; from the rendezvous file, zero for an address.
struct Secret {
  uint64_t words[2] = {0, 0};
};

// The listening socket of rank 0. Owns socket and file; the file is gone when it is closed.
class Listener {
public:
  Listener() = default;
  Listener(const Listener &) = delete;
  Listener &operator=(const Listener &) = delete;
  ~Listener() { close(); }

  // 5101 the text is neither HOST:PORT nor file:PATH, 5102 the port cannot be had, 5103 the file exists or cannot be
  // written.
  Status open(const char *rendezvous, uint32_t ranks);
  // A new connection without waiting, non-blocking; -1 where there is none.
  int accept();
  int fd() const { return descriptor; }
  const Secret &secret() const { return word; }
  void close();

private:
  Status openFile(const char *path, uint32_t ranks);

  int descriptor = -1;
  std::string file; // ours to delete; empty for an address
  Secret word;
};

// One rank's way to rank 0, tried until it works or the time is over.
class Connector {
public:
  Connector(const char *rendezvous, uint32_t rank, uint32_t ranks, const volatile int *cancel = nullptr)
      : rendezvous(rendezvous), rank(rank), ranks(ranks), cancel(cancel) {}
  // A connected non-blocking socket. 5101, 5103 and 5105 (the file speaks of another number of ranks) at once; 5104 and
  // 5103 (a file behind which nobody listens) when the time is over or `cancel` is not 0.
  Status connect(uint64_t endNs, int &descriptor);
  const Secret &secret() const { return word; }

private:
  Status resolve(bool &found);
  Status readFile(const char *path, bool &found);
  Status late() const;

  const char *rendezvous;
  const uint32_t rank, ranks;
  const volatile int *const cancel;
  struct sockaddr_storage address = {};
  socklen_t addressBytes = 0;
  bool known = false; // an address was found once
  Secret word;
};

} // namespace moray::rt::comm
