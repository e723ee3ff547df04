// Buffers and sockets of framed messages.
#include "runtime/comm/frame.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace moray::rt::comm {

namespace {

constexpr uint32_t kFrameMagic = 0x4643524d; // "MRCF"
constexpr size_t kFirstBuffer = 4096;

struct FrameHeader {
  uint32_t magic, type, bytes;
};

} // namespace

Link::Link(int descriptor, uint32_t maxPayload) : descriptor(descriptor), maxPayload(maxPayload) {}

Link::Link(Link &&other) noexcept { *this = std::move(other); }

Link &Link::operator=(Link &&other) noexcept {
  std::swap(descriptor, other.descriptor);
  std::swap(maxPayload, other.maxPayload);
  std::swap(ended, other.ended);
  std::swap(broken, other.broken);
  std::swap(in, other.in);
  std::swap(out, other.out);
  std::swap(inSize, other.inSize);
  std::swap(taken, other.taken);
  std::swap(outFirst, other.outFirst);
  return *this;
}

void Link::close() {
  if (descriptor >= 0)
    ::close(descriptor);
  descriptor = -1;
}

void Link::endOutput() {
  if (descriptor >= 0)
    shutdown(descriptor, SHUT_WR);
}

void Link::send(FrameType type, Bytes head, Bytes tail) {
  if (!open() || broken)
    return;
  const FrameHeader header = {kFrameMagic, static_cast<uint32_t>(type),
                              static_cast<uint32_t>(head.size() + tail.size())};
  const Bytes start = bytesOf(header);
  out.insert(out.end(), start.begin(), start.end());
  out.insert(out.end(), head.begin(), head.end());
  out.insert(out.end(), tail.begin(), tail.end());
  flush();
}

bool Link::flush() {
  while (open() && !broken && outFirst < out.size()) {
    const ssize_t sent = ::send(descriptor, out.data() + outFirst, out.size() - outFirst, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return false;
    if (sent < 0)
      broken = true;
    else
      outFirst += static_cast<size_t>(sent);
  }
  out.clear();
  outFirst = 0;
  return true;
}

// Reads what is there; false when nothing came.
bool Link::receive() {
  if (ended || !open())
    return false;
  if (inSize == in.size())
    in.resize(std::max(kFirstBuffer, 2 * in.size()));
  const ssize_t count = recv(descriptor, in.data() + inSize, in.size() - inSize, MSG_DONTWAIT);
  if (count > 0) {
    inSize += static_cast<size_t>(count);
    return true;
  }
  // A reset is an end, too: the peer is gone.
  ended = count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  return false;
}

Link::Read Link::next(Frame &frame) {
  if (taken != 0) {
    std::copy(in.begin() + static_cast<ptrdiff_t>(taken), in.begin() + static_cast<ptrdiff_t>(inSize), in.begin());
    inSize -= taken;
    taken = 0;
  }
  for (;;) {
    FrameHeader header = {};
    if (inSize >= sizeof(header)) {
      memcpy(&header, in.data(), sizeof(header));
      if (header.magic != kFrameMagic || header.type < static_cast<uint32_t>(FrameType::Hello) ||
          header.type > static_cast<uint32_t>(FrameType::Bye) || header.bytes > maxPayload)
        return Read::Malformed;
      if (inSize - sizeof(header) >= header.bytes) {
        taken = sizeof(header) + header.bytes;
        frame = {static_cast<FrameType>(header.type), {in.data() + sizeof(header), header.bytes}};
        return Read::Frame;
      }
    }
    if (!receive())
      return ended || !open() ? Read::Closed : Read::Nothing;
  }
}

} // namespace moray::rt::comm
