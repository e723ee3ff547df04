// The state of a running block: warps with per-lane program counters, call frames, shared and local memory.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "test/gpusim/exec/program.h"
#include "test/gpusim/exec/race.h"
#include "test/gpusim/memory/global_memory.h"

namespace gpusim {

struct Block;

// Ends a launch with a report; thrown by handlers, caught per block.
struct Fault {
  Report report;
};

constexpr uint32_t allLanes = 0xffffffffu;

template <class F> inline void forLanes(uint32_t lanes, F &&body) {
  if (lanes == allLanes) {
    for (unsigned lane = 0; lane < 32; ++lane)
      body(lane);
    return;
  }
  for (; lanes; lanes &= lanes - 1)
    body(static_cast<unsigned>(__builtin_ctz(lanes)));
}

// A context of calls. Lanes that took the same calls share one, whatever the order in which they took them.
struct Frame {
  uint32_t function;
  uint32_t parent; // index of the caller's frame
  uint32_t callPc; // the call instruction
  uint32_t depth;
  uint32_t registerBase, predicateBase; // in slots
  uint32_t localBase;                   // in bytes
};

// Why a live lane does not run.
enum class Wait : uint8_t { None, Barrier, Sync, Aligned };

struct Warp {
  // The running group of lanes: all have this frame and this program counter.
  uint64_t *registers = nullptr;  // [slot][32]
  uint32_t *predicates = nullptr; // [slot], a bit per lane
  const uint64_t *pool = nullptr; // [constant][32]
  uint32_t pc = 0;                // of the next instruction
  uint32_t active = 0;
  uint32_t frame = 0;
  uint32_t localBase = 0;
  bool diverged = false; // other lanes could run as well
  bool repick = false;   // a handler changed lanes' state: choose the group anew

  Block *block = nullptr;
  const Program *program = nullptr;
  unsigned index = 0;
  uint32_t present = 0; // lanes that exist
  uint32_t live = 0;    // and have not exited
  uint32_t runnable = 0;
  std::array<uint32_t, 32> lanePc{}, laneFrame{}, laneStamp{};
  std::array<Wait, 32> waits{};
  std::array<uint32_t, 32> waitMask{}; // of Wait::Sync: the lanes waited for; of Wait::Barrier: the barrier
  uint32_t alignedWaiters = 0;
  std::vector<Frame> frames;
  std::vector<uint64_t> registerFile;
  std::vector<uint32_t> predicateFile;
  uint32_t stopPc = ~0u;
  uint32_t stamp = 0, divergedFor = 0, forcedFor = 0;
  unsigned leader = 0;
  uint64_t executed = 0;
  uint64_t clockReads = 0;

  uint32_t carry = 0; // the condition code's carry flag, a bit per lane

  // Local memory, [lane][localCapacity].
  std::vector<uint8_t> local, localDefined;
  uint32_t localCapacity = 0;

  // Happens-before.
  uint32_t epoch = 1;
  std::array<KnowledgeRef, 32> known;
  // What a lane knew at its last fence, with its epoch then (0: none since the start); its strong writes publish that.
  // What it has seen published counts from its next fence on.
  std::array<KnowledgeRef, 32> fenced, seen;
  std::array<uint32_t, 32> fencedEpoch{};

  // Asynchronous copies per lane: groups not yet waited for, oldest first; openGroup is not committed, 0 if there is
  // none.
  std::array<uint32_t, 32> openGroup{};
  std::array<std::vector<uint32_t>, 32> pendingGroups;

  const uint64_t *source(int32_t slot) const { return slot >= 0 ? registers + slot * 32 : pool + (~slot) * 32; }
  uint64_t *dest(int32_t slot) { return registers + slot * 32; }
  uint32_t predicateSource(const Instr &instr, unsigned which) const {
    uint32_t bits = predicates[instr.p[2 + which]];
    return instr.negated[which] ? ~bits : bits;
  }
  void setPredicate(int32_t slot, uint32_t lanes, uint32_t bits) {
    if (slot >= 0)
      predicates[slot] = (predicates[slot] & ~lanes) | (bits & lanes);
  }

  void start(Block &owner, unsigned warpIndex, uint32_t lanes, uint32_t function);
  // Runs until all lanes wait or have exited, or `quantum` instructions; returns how many it executed.
  template <bool Debug> uint64_t run(uint64_t quantum);
  bool pick();                  // chooses the group; false if no lane can run
  void enterFrame(uint32_t to); // sets the pointers of the group
  uint32_t childFrame(uint32_t function, uint32_t callPc);
  void spill(uint32_t lanes, uint32_t to) { // sets the lanes' program counters
    forLanes(lanes, [&](unsigned lane) { lanePc[lane] = to; });
  }
  void suspend(uint32_t lanes, Wait why, uint32_t at);
  void resume(uint32_t lanes);
  void exitLanes(uint32_t lanes);
  uint32_t waiting(Wait why) const;
  // Lets an .aligned instruction proceed only with all live lanes; false: the lanes were parked.
  bool alignedArrival(const Instr &instr, uint32_t lanes);
  // The same for a .sync instruction with a mask of lanes (the same for all of `lanes` unless it says otherwise).
  bool syncArrival(const Instr &instr, uint32_t lanes, const uint64_t *masks);
  void fence(uint32_t lanes);
  void publish(unsigned lane, uint64_t location, bool release, bool replace);
  void observe(unsigned lane, uint64_t location, bool acquire);
  void checkBypass(); // lanes that run past an .aligned instruction at which others wait
  unsigned thread(unsigned lane) const { return index * 32 + lane; }
  void growLocal(uint32_t bytes);

  [[noreturn]] void fault(Report::Kind kind, const Instr &instr, unsigned lane, const std::string &detail,
                          uint64_t address = 0, const char *space = "", const std::string &allocation = "") const;
};

// Of which threads a barrier waits, and those who have come.
struct Barrier {
  struct Waiter {
    uint32_t warp, lanes, frame;
    const Instr *instr;
  };
  uint32_t expected = 0; // 0: all live threads of the block
  uint32_t arrived = 0;  // threads, warps counted whole
  uint32_t votesAll = 1, votesAny = 0, votesCount = 0;
  bool used = false;
  std::vector<Waiter> waiters;
  Join join;
};

// Instructions from which `pc` can be reached, and those that can be reached from it.
struct Reach {
  uint32_t begin;
  std::vector<bool> leadsTo, follows;
};

struct Block {
  const Program *program = nullptr;
  const KernelLayout *layout = nullptr;
  const KernelInfo *info = nullptr;
  uint32_t kernelFunction = 0;
  GlobalMemory *memory = nullptr;
  const LaunchConfig *launch = nullptr;
  const ExecOptions *options = nullptr;
  const std::vector<const uint64_t *> *pools = nullptr; // by function
  const std::atomic<bool> *stop = nullptr;
  uint64_t linear = 0;
  Dim3 at{0, 0, 0};
  uint32_t threads = 0;
  bool traced = false;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared;
  SharedShadow shadow;
  std::array<Barrier, 16> barriers;
  std::unordered_map<uint64_t, KnowledgeRef> published; // by generic address, through strong writes after fences
  std::map<uint32_t, Reach> reachable;
  uint64_t executed = 0;

  void start(uint64_t linearIndex);
  void run(); // throws Fault
  void completeBarrier(unsigned id);
  void checkBarriers(); // completes those that wait for nobody else
  const Reach &reach(uint32_t pc);
  uint32_t liveThreads() const;
  std::string sharedName(uint64_t offset) const;

private:
  [[noreturn]] void deadlock();
  uint64_t runRound(std::vector<uint32_t> &order, uint64_t &random);
};

// Debugging aids (debug.cpp).
void traceInstruction(const Warp &warp, const Instr &instr, uint32_t lanes);
void dumpAtBreak(const Warp &warp, const Instr &instr, uint32_t lanes);

} // namespace gpusim
