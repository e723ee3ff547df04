// One block: its warps take turns; barriers complete; a state in which nobody can run is a deadlock.
#include <algorithm>
#include <numeric>

#include "test/gpusim/exec/warp.h"

namespace gpusim {
namespace {

constexpr uint64_t warpQuantum = 2000;

uint64_t nextRandom(uint64_t &state) { // xorshift64*
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}

} // namespace

void Block::start(uint64_t linearIndex) {
  const Dim3 &grid = launch->grid, &size = launch->block;
  linear = linearIndex;
  at = {static_cast<uint32_t>(linear % grid.x), static_cast<uint32_t>(linear / grid.x % grid.y),
        static_cast<uint32_t>(linear / grid.x / grid.y)};
  threads = size.x * size.y * size.z;
  traced = !options->traceKernel.empty() && options->traceKernel == info->name && options->traceBlock == linear;
  executed = 0;
  uint32_t bytes = layout->staticBytes + launch->dynamicShared;
  shared.assign(bytes, 0xCB);
  shadow.reset(bytes);
  for (Barrier &barrier : barriers)
    barrier = Barrier{};
  published.clear();
  warps.resize((threads + 31) / 32);
  for (unsigned i = 0; i < warps.size(); ++i) {
    unsigned lanes = std::min(32u, threads - i * 32);
    warps[i].start(*this, i, lanes == 32 ? allLanes : (1u << lanes) - 1, kernelFunction);
  }
}

uint64_t Block::runRound(std::vector<uint32_t> &order, uint64_t &random) {
  if (options->seed)
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[nextRandom(random) % i]);
  bool debug = traced || !options->breakKernel.empty();
  uint64_t progress = 0;
  for (uint32_t i : order) {
    Warp &warp = warps[i];
    if (!warp.runnable)
      continue;
    uint64_t quantum = options->seed ? 1 + nextRandom(random) % warpQuantum : warpQuantum;
    progress += debug ? warp.run<true>(quantum) : warp.run<false>(quantum);
  }
  return progress;
}

void Block::run() {
  std::vector<uint32_t> order(warps.size());
  std::iota(order.begin(), order.end(), 0);
  uint64_t random = (options->seed + 1) * 0x9e3779b97f4a7c15ull ^ (linear + 1) * 0xd1342543de82ef95ull;
  while (true) {
    uint64_t progress = runRound(order, random);
    executed += progress;
    checkBarriers();
    bool live = false, runnable = false;
    for (const Warp &warp : warps) {
      live |= warp.live != 0;
      runnable |= warp.runnable != 0;
    }
    if (!live || stop->load(std::memory_order_relaxed))
      return;
    if (!runnable)
      deadlock();
    if (executed > options->budget)
      for (const Warp &warp : warps)
        if (warp.runnable) {
          unsigned lane = __builtin_ctz(warp.runnable);
          warp.fault(Report::Budget, program->code[warp.lanePc[lane]], lane,
                     "the block has executed " + std::to_string(executed) +
                         " warp-instructions without ending (MORAY_GPUSIM_BUDGET)");
        }
  }
}

uint32_t Block::liveThreads() const {
  uint32_t count = 0;
  for (const Warp &warp : warps)
    count += __builtin_popcount(warp.live);
  return count;
}

// Exited threads count as arrived: a barrier may complete without a new arrival.
void Block::checkBarriers() {
  for (unsigned id = 0; id < barriers.size(); ++id) {
    Barrier &barrier = barriers[id];
    if (!barrier.used || barrier.waiters.empty())
      continue;
    if (barrier.expected ? barrier.arrived >= barrier.expected : barrier.arrived >= liveThreads())
      completeBarrier(id);
  }
}

// Nobody can run: names a lane that waits and what it waits for.
void Block::deadlock() {
  auto missing = [&](auto &&isMissing) {
    for (const Warp &warp : warps)
      for (unsigned lane = 0; lane < 32; ++lane)
        if ((warp.live >> lane & 1) && isMissing(warp, lane))
          return "thread " + std::to_string(warp.thread(lane)) + " (warp " + std::to_string(warp.index) + ", lane " +
                 std::to_string(lane) + ") waits at PTX line " + std::to_string(program->code[warp.lanePc[lane]].line);
    return std::string("all other threads have exited");
  };
  const Warp *stuck = nullptr;
  Wait kind = Wait::None;
  for (Wait candidate : {Wait::Barrier, Wait::Sync, Wait::Aligned}) // the last one found says most
    for (const Warp &warp : warps)
      if (warp.waiting(candidate)) {
        stuck = &warp;
        kind = candidate;
        break;
      }
  unsigned lane = __builtin_ctz(stuck->waiting(kind));
  uint32_t at = stuck->lanePc[lane];
  const Instr &instr = program->code[at - (kind == Wait::Barrier ? 1 : 0)];
  std::string others = missing([&](const Warp &other, unsigned l) {
    return other.waits[l] != kind || other.lanePc[l] != at || (kind != Wait::Barrier && &other != stuck);
  });
  if (kind == Wait::Aligned)
    stuck->fault(Report::Divergence, instr, lane,
                 "only part of the warp's live lanes reaches this .aligned instruction: " + others);
  if (kind == Wait::Sync)
    stuck->fault(Report::Deadlock, instr, lane, "lanes of the member mask never reach this instruction: " + others);
  unsigned id = stuck->waitMask[lane];
  uint32_t expected = barriers[id].expected ? barriers[id].expected : liveThreads();
  stuck->fault(Report::Deadlock, instr, lane,
               "barrier " + std::to_string(id) + " has " + std::to_string(barriers[id].arrived) + " of " +
                   std::to_string(expected) + " threads and no other can come: " + others);
}

// Breadth-first over the function's instructions, along and against the flow of control.
const Reach &Block::reach(uint32_t pc) {
  auto known = reachable.find(pc);
  if (known != reachable.end())
    return known->second;
  const Function &function = program->functionAt(pc);
  uint32_t size = function.end - function.begin;
  std::vector<std::vector<uint32_t>> successors(size), predecessors(size);
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t next : program->successors(function.begin + i)) {
      if (next < function.begin || next >= function.end)
        continue;
      successors[i].push_back(next - function.begin);
      predecessors[next - function.begin].push_back(i);
    }
  }
  auto flood = [&](const std::vector<std::vector<uint32_t>> &edges) {
    std::vector<bool> seen(size);
    std::vector<uint32_t> work = edges[pc - function.begin];
    while (!work.empty()) {
      uint32_t i = work.back();
      work.pop_back();
      if (seen[i])
        continue;
      seen[i] = true;
      work.insert(work.end(), edges[i].begin(), edges[i].end());
    }
    return seen;
  };
  return reachable[pc] = {function.begin, flood(predecessors), flood(successors)};
}

std::string Block::sharedName(uint64_t offset) const {
  for (const SharedPlacement &placed : layout->shared)
    if (offset >= placed.offset && offset < uint64_t(placed.offset) + placed.size)
      return program->variables[placed.variable].name + " + " + std::to_string(offset - placed.offset);
  return "dynamic shared memory + " + std::to_string(offset - layout->staticBytes);
}

} // namespace gpusim
