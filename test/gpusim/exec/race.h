// Happens-before bookkeeping of one block: which accesses to shared memory are ordered, per byte.
//
// A warp's epoch counts its releases; an access is labelled (thread, epoch of its warp). Knowledge tells up to which
// epoch a lane is ordered after the threads of every warp. Barriers join knowledge; shuffles, votes, ldmatrix and mma
// do not.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

namespace gpusim {

struct Warp;
struct Instr;

constexpr unsigned maxWarps = 32;

struct Knowledge {
  uint32_t references = 0;
  std::array<uint32_t, maxWarps> whole{}; // epoch up to which all lanes of a warp are known
  std::vector<uint32_t> partial;          // by thread, where single lanes are known for longer; else empty

  bool covers(unsigned warp, uint32_t lanes, uint32_t epoch) const {
    return whole[warp] >= epoch || (!partial.empty() && coversPartly(warp, lanes, epoch));
  }
  void join(const Knowledge &other);
  void learn(unsigned warp, uint32_t lanes, uint32_t epoch, bool wholeWarp);

private:
  bool coversPartly(unsigned warp, uint32_t lanes, uint32_t epoch) const;
};

// Shares a Knowledge among the lanes of one block (one host thread: the count is not atomic).
class KnowledgeRef {
public:
  KnowledgeRef() = default;
  explicit KnowledgeRef(Knowledge *knowledge) : held(knowledge) { acquire(); }
  KnowledgeRef(const KnowledgeRef &other) : held(other.held) { acquire(); }
  KnowledgeRef &operator=(const KnowledgeRef &other) {
    if (held != other.held) {
      release();
      held = other.held;
      acquire();
    }
    return *this;
  }
  ~KnowledgeRef() { release(); }
  // Before its first barrier a lane knows nothing.
  const Knowledge &operator*() const { return held ? *held : nothing(); }
  const Knowledge *get() const { return held; }

private:
  static const Knowledge &nothing() {
    static const Knowledge none;
    return none;
  }
  void acquire() {
    if (held)
      ++held->references;
  }
  void release() {
    if (held && --held->references == 0)
      delete held;
  }
  Knowledge *held = nullptr;
};

// Gathers what the participants of a barrier know.
class Join {
public:
  void arrive(Warp &warp, uint32_t lanes); // starts a new epoch of the warp
  void exited(const Warp &warp);           // all of the warp's lanes have exited
  KnowledgeRef finish();                   // what each participant then knows; empties this

private:
  std::unique_ptr<Knowledge> sum;
};

enum class SharedAccess : uint8_t { Read, Write, StrongRead, StrongWrite, Atomic, AsyncWrite, WarpRead };

class SharedShadow {
public:
  void reset(uint32_t bytes);
  // Checks and records one lane's access to [offset, offset + bytes), which is inside shared memory. `data`: the bytes
  // being written, to tell harmless equal writes of one warp; may be null. `async`: of AsyncWrite, the copy group.
  void access(Warp &warp, const Instr &instr, unsigned lane, uint32_t offset, uint32_t bytes, SharedAccess mode,
              const uint8_t *data = nullptr, uint32_t async = 0);
  // All of `lanes` read the same bytes, at most 16, and know the same; false if that needs a look lane by lane.
  bool readSame(const Warp &warp, uint32_t lanes, uint32_t offset, uint32_t bytes);
  // A new group of asynchronous copies; complete(group, epoch) when its issuer has waited for it.
  uint32_t openGroup();
  void complete(uint32_t group, uint32_t epoch) { groups[group] = epoch; }
  // All threads of the block have met and know this: what it covers is ordered before everything to come.
  void everybodyKnows(const Knowledge &known) { settledEpochs = known.whole; }

private:
  enum Flags : uint8_t { Defined = 1, StrongWriter = 2, Split = 4, Crowded = 8 };
  struct Cell {
    uint32_t writeEpoch = 0; // 0: no writer
    uint16_t writer = 0;     // thread in the block
    uint8_t flags = 0;
    uint8_t unused = 0;
    uint32_t async = 0;     // group of the asynchronous copy that writes it, 0 for none
    uint32_t readEpoch = 0; // 0: no reader since the last write
    uint32_t readLanes = 0; // lanes of readWarp; with manyReaders an index into readSets
    uint16_t readWarp = 0;
    uint16_t strongReads = 0; // 1: all those reads were strong
  };
  struct ReadEntry {
    uint16_t warp;
    bool strong;
    uint32_t lanes, epoch;
  };
  // The readers of a cell that several warps have read, by warp.
  struct ReadSet {
    uint32_t warps = 0, strong = 0; // a bit per warp
    std::array<uint32_t, maxWarps> epoch, lanes;
    std::vector<ReadEntry> earlier; // of lanes that were not ordered before a later read of their own warp
  };
  // What a Crowded cell remembers beside its last writer, which is a strong one: strong accesses (atomics, volatile)
  // that are not ordered before it, and plain ones that are, but perhaps not before the strong accesses of others.
  enum Past : uint8_t { StrongRead, StrongWrite, PlainRead, PlainWrite };
  struct CrowdEntry {
    uint16_t warp;
    Past past;
    uint32_t lanes, epoch;
  };
  static constexpr uint16_t manyReaders = 0xffff;
  struct Access {
    Warp &warp;
    const Instr &instr;
    unsigned lane;
    uint32_t offset;
    SharedAccess mode;
    const uint8_t *data;
    uint32_t async;
    const Knowledge &known;
    uint16_t thread, warpIndex;
    uint32_t epoch, lanes;
    bool strong;
  };
  bool settled(Cell &cell);
  bool readFast(Cell &cell, const Knowledge &known, unsigned warp, uint32_t epoch, uint32_t lanes, unsigned thread);
  bool writeFast(Cell &cell, const Knowledge &known, unsigned thread, uint32_t epoch, uint32_t async);
  uint32_t newReadSet();
  void touch(Cell &cell, const Access &access, uint32_t offset, uint32_t bytes);
  void read(Cell &cell, const Access &access, uint32_t offset);
  void write(Cell &cell, const Access &access, uint32_t offset, uint32_t bytes);
  void recordManyReads(Cell &cell, const Access &access);
  template <class Visitor> void forEachReader(const Cell &cell, Visitor visit) const;
  void checkReaders(Cell &cell, const Access &access, uint32_t offset);
  bool keepCrowd(const Cell &cell, const Access &access, uint32_t offset);
  void checkCrowd(const Access &access, uint32_t offset, bool reads);
  void settle(Cell &cell, const Access &access, uint32_t offset);
  void checkWriter(const Cell &cell, const Access &access, uint32_t offset, uint32_t bytes);
  Cell *split(uint32_t word);
  [[noreturn]] void race(const Access &access, uint32_t offset, const char *earlier, unsigned warp, unsigned lane);

  static constexpr uint32_t chunkBytes = 256;
  std::vector<Cell> words;
  std::vector<uint8_t> written;           // by chunk: some byte has been written; only those need a reset
  std::vector<std::array<Cell, 4>> bytes; // of split words; words[w].readLanes holds the index
  std::vector<uint32_t> freeBytes;
  std::vector<ReadSet> readSets;
  std::vector<uint32_t> freeReadSets;
  std::array<uint32_t, maxWarps> settledEpochs{};
  std::unordered_map<uint32_t, std::vector<CrowdEntry>> crowds; // by the offset of the word or split byte
  std::vector<uint32_t> groups; // epoch of completion, 0 while pending; entry 0 is unused
};

} // namespace gpusim
