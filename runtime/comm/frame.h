// Framed messages over one TCP connection, with every byte of the peer checked before it is used.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>
#include <vector>

namespace moray::rt::comm {

enum class FrameType : uint32_t { Hello = 1, Welcome, Vote, Decision, Alive, Stalled, Failure, Bye };

struct Frame {
  FrameType type;
  Bytes payload; // valid until the link reads again
};

// One non-blocking connection with its buffers. Owns the descriptor.
class Link {
public:
  explicit Link(int descriptor = -1, uint32_t maxPayload = 0);
  Link(Link &&other) noexcept;
  Link &operator=(Link &&other) noexcept;
  ~Link() { close(); }

  int fd() const { return descriptor; }
  bool open() const { return descriptor >= 0; }
  void setMaxPayload(uint32_t bytes) { maxPayload = bytes; }
  void close();
  // No more is sent; what was queued has been given to the system.
  void endOutput();

  // Queues a frame of up to two parts and sends what the system takes now. Lost connections show when reading.
  void send(FrameType type, Bytes head, Bytes tail = {});
  // Sends more of what is queued; true when nothing is left, or nothing can be sent any more.
  bool flush();

  enum class Read { Nothing, Frame, Closed, Malformed };
  // The next whole frame, without waiting. Closed only after all frames were taken. After Malformed the link is
  // useless.
  Read next(Frame &frame);

private:
  bool receive();

  int descriptor = -1;
  uint32_t maxPayload = 0;
  bool ended = false;  // the peer sends no more
  bool broken = false; // nothing can be sent
  std::vector<uint8_t> in, out;
  size_t inSize = 0;   // bytes in `in`
  size_t taken = 0;    // bytes of `in` that belong to frames handed out
  size_t outFirst = 0; // first byte of `out` not yet sent
};

// The payload as a message of fixed size, followed by `tail`; false where it is shorter.
template <typename T> bool decode(Bytes payload, T &head, Bytes &tail) {
  if (payload.size() < sizeof(T))
    return false;
  __builtin_memcpy(&head, payload.data(), sizeof(T));
  tail = {payload.data() + sizeof(T), payload.size() - sizeof(T)};
  return true;
}
template <typename T> Bytes bytesOf(const T &value) { return {reinterpret_cast<const uint8_t *>(&value), sizeof(T)}; }

} // namespace moray::rt::comm
