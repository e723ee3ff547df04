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
  // `latest`: messages arrive after up to so many looks at them.
  explicit LoopbackHub(uint32_t latest = 0) : latest(latest) {}
  void put(uint32_t from, uint32_t to, uint32_t sequence, std::vector<uint8_t> bytes) {
    Box &box = boxes[to];
    const std::lock_guard<std::mutex> lock(box.mutex);
    box.random = box.random * 1664525 + 1013904223;
    box.queues[{from, sequence}].push_back({box.random % 65521 % (latest + 1), std::move(bytes)});
  }
  // False where nothing has arrived.
  bool take(uint32_t from, uint32_t to, uint32_t sequence, std::vector<uint8_t> &bytes) {
    Box &box = boxes[to];
    const std::lock_guard<std::mutex> lock(box.mutex);
    const auto queue = box.queues.find({from, sequence});
    if (queue == box.queues.end() || queue->second.front().looks-- > 0)
      return false;
    bytes = std::move(queue->second.front().bytes);
    queue->second.pop_front();
    if (queue->second.empty())
      box.queues.erase(queue);
    return true;
  }

private:
  struct Message {
    int64_t looks;
    std::vector<uint8_t> bytes;
  };
  struct Box {
    std::mutex mutex;
    uint32_t random = 1;
    std::map<std::pair<uint32_t, uint32_t>, std::deque<Message>> queues; // by source and sequence
  };
  const uint32_t latest;
  Box boxes[64];
};

class LoopbackTransport final : public rt::comm::Transport {
public:
  LoopbackTransport(LoopbackHub &hub, uint32_t rank) : hub(hub), rank(rank) {}

  rt::Status post(uint32_t lane, rt::Span<const rt::comm::Piece> sends, rt::Span<const rt::comm::Piece> receives,
                  uint32_t sequence) override {
    for (const rt::comm::Piece &piece : sends)
      hub.put(rank, piece.peer, sequence, std::vector<uint8_t>(piece.data, piece.data + piece.bytes));
    sequences[lane] = sequence;
    pending[lane].insert(pending[lane].end(), receives.begin(), receives.end());
    return {};
  }
  rt::Status progress(uint32_t lane, bool &done) override;
  uint32_t missing(uint32_t lane, uint32_t *peers, uint32_t capacity) override;
  void abandon() override {
    for (auto &pieces : pending)
      pieces.clear();
  }
  rt::Status close(bool &done) override {
    done = true;
    return {};
  }

private:
  LoopbackHub &hub;
  const uint32_t rank;
  uint32_t sequences[rt::comm::kLanes] = {};
  std::vector<rt::comm::Piece> pending[rt::comm::kLanes]; // in the order of posting
};

} // namespace moray::test
