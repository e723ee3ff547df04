// Takes what has arrived for the posted receives.
#include "loopback_transport.h"
#include <algorithm>
#include <cstring>

namespace moray::test {

rt::Status LoopbackTransport::progress(bool &done) {
  std::vector<rt::comm::Piece> left;
  for (const rt::comm::Piece &piece : pending) {
    const bool later =
        std::any_of(left.begin(), left.end(), [&](const auto &other) { return other.peer == piece.peer; });
    uint32_t number = 0;
    std::vector<uint8_t> bytes;
    if (later || !hub.take(piece.peer, rank, number, bytes)) {
      left.push_back(piece);
      continue;
    }
    if (number != sequence || bytes.size() != piece.bytes)
      return rt::fail(rt::kE5108, "rank %u sent %zu bytes in exchange %u, rank %u expected %llu in exchange %u",
                      piece.peer, bytes.size(), number, rank, static_cast<unsigned long long>(piece.bytes), sequence);
    memcpy(piece.data, bytes.data(), bytes.size());
  }
  pending = std::move(left);
  done = pending.empty();
  return {};
}

uint32_t LoopbackTransport::missing(uint32_t *peers, uint32_t capacity) {
  uint32_t count = 0;
  for (const rt::comm::Piece &piece : pending)
    if (count < capacity && std::find(peers, peers + count, piece.peer) == peers + count)
      peers[count++] = piece.peer;
  return count;
}

} // namespace moray::test
