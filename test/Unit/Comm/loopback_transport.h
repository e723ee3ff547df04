// Ranks as threads of one process, for tests: bytes wait in queues until they are taken.
#pragma once
#include "runtime/comm/transport.h"
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace moray::test {

// Shared by the transports of all ranks.
class LoopbackHub {
public:
  void put(uint32_t from, uint32_t to, uint32_t sequence, std::vector<uint8_t> bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    queues[{from, to}].push_back({sequence, std::move(bytes)});
  }
  // False where nothing has arrived.
  bool take(uint32_t from, uint32_t to, uint32_t &sequence, std::vector<uint8_t> &bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::deque<Message> &queue = queues[{from, to}];
    if (queue.empty())
      return false;
    sequence = queue.front().sequence;
    bytes = std::move(queue.front().bytes);
    queue.pop_front();
    return true;
  }

private:
  struct Message {
    uint32_t sequence;
    std::vector<uint8_t> bytes;
  };
  std::mutex mutex;
  std::map<std::pair<uint32_t, uint32_t>, std::deque<Message>> queues;
};

class LoopbackTransport final : public rt::comm::Transport {
public:
  LoopbackTransport(LoopbackHub &hub, uint32_t rank) : hub(hub), rank(rank) {}

  rt::Status begin(rt::Span<const rt::comm::Piece> sends, rt::Span<const rt::comm::Piece> receives,
                   uint32_t number) override {
    sequence = number;
    for (const rt::comm::Piece &piece : sends)
      hub.put(rank, piece.peer, sequence, std::vector<uint8_t>(piece.data, piece.data + piece.bytes));
    pending.assign(receives.begin(), receives.end());
    return {};
  }
  rt::Status progress(bool &done) override;
  uint32_t missing(uint32_t *peers, uint32_t capacity) override;
  void abandon() override { pending.clear(); }
  rt::Status close(bool &done) override {
    done = true;
    return {};
  }

private:
  LoopbackHub &hub;
  const uint32_t rank;
  uint32_t sequence = 0;
  std::vector<rt::comm::Piece> pending; // in the order of posting
};

} // namespace moray::test
