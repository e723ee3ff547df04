// Takes what has arrived for the posted receives.
#include "loopback_transport.h"
#include <algorithm>
#include <cstring>

namespace moray::test {

rt::Status LoopbackTransport::progress(uint32_t lane, bool &done) {
  std::vector<rt::comm::Piece> left;
  std::vector<bool> waits(64);
  for (const rt::comm::Piece &piece : pending[lane]) {
    std::vector<uint8_t> bytes;
    if (waits[piece.peer] || !hub.take(piece.peer, rank, sequences[lane], bytes)) {
      waits[piece.peer] = true;
      left.push_back(piece);
      continue;
    }
    if (bytes.size() != piece.bytes)
      return rt::fail(rt::kE5108, "rank %u sent %zu bytes in exchange %u, rank %u expected %llu", piece.peer,
                      bytes.size(), sequences[lane], rank, static_cast<unsigned long long>(piece.bytes));
    memcpy(piece.data, bytes.data(), bytes.size());
  }
  pending[lane] = std::move(left);
  done = pending[lane].empty();
  return {};
}

uint32_t LoopbackTransport::missing(uint32_t lane, uint32_t *peers, uint32_t capacity) {
  uint32_t count = 0;
  for (const rt::comm::Piece &piece : pending[lane])
    if (count < capacity && std::find(peers, peers + count, piece.peer) == peers + count)
      peers[count++] = piece.peer;
  return count;
}

} // namespace moray::test
