// What the processes of one communicator share: where each rank stands, and a mailbox for every ordered pair of ranks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace ncclsim {

constexpr int maxRanks = 64;

/// How far a rank has come; never goes back.
enum RankState : uint32_t { Absent, Attached, Finalised, Destroyed, Aborted, Failed };

/// What both sides of a message must agree on, and whom to name when they do not.
struct MessageHeader {
  uint32_t kind, type, reduction, root;
  uint64_t count;     // elements of the whole message
  uint64_t operation; // the sender's number of it
};

/// One piece of a message under way. The sender writes while it is empty, the receiver reads while it is full.
struct Mailbox {
  static constexpr size_t capacity = 64 << 10;
  std::atomic<uint32_t> full;
  uint32_t bytes;
  MessageHeader header;
  uint8_t data[capacity];
  uint8_t written[capacity]; // whether the sender's memory was ever written
};

/// Memory without a name: a file of the process that made the id, opened by the others through /proc. Nothing has to be
/// removed, however the processes end.
class SharedGroup {
public:
  SharedGroup() = default;
  ~SharedGroup() { close(); }
  SharedGroup(const SharedGroup &) = delete;
  SharedGroup &operator=(const SharedGroup &) = delete;

  /// Makes the memory and writes what opens it; false and a sentence where the system refuses.
  static bool makeId(char (&id)[128], std::string &problem);

  /// Maps the memory and takes the place of a rank.
  bool attach(const char (&id)[128], int ranks, int rank, std::string &problem);
  /// Whether all ranks have taken their places. If so, the process that made the id lets go of the file.
  bool everybodyIsHere();
  void close();
  bool isOpen() const { return header != nullptr; }

  RankState state(int rank) const;
  void setState(int rank, RankState state);
  Mailbox &mailbox(int from, int to) const { return mailboxes[size_t(from) * size_t(ranks) + size_t(to)]; }

private:
  struct Header;
  Header *header = nullptr;
  Mailbox *mailboxes = nullptr;
  size_t bytes = 0;
  int ranks = 0;
  int ownFile = -1; // of the process that made the id
};

} // namespace ncclsim
