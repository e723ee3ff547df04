// Scheduling inside a warp: groups of lanes with equal frame and program counter, parking and resuming of lanes.
#include "test/gpusim/exec/warp.h"

#include <algorithm>

namespace gpusim {
namespace {

// After so many instructions of groups that leave other lanes behind, the lanes that ran longest ago get a turn.
constexpr uint32_t divergedQuantum = 512, forcedQuantum = 512;

} // namespace

void Warp::start(Block &owner, unsigned warpIndex, uint32_t lanes, uint32_t function) {
  block = &owner;
  program = owner.program;
  index = warpIndex;
  present = live = runnable = lanes;
  const Function &kernel = program->functions[function];
  frames.assign(1, {function, 0, 0, 0, 0, 0, 0});
  // Registers keep what an earlier block left in them: kernels have thousands, each written before it is read.
  if (registerFile.size() < size_t(kernel.registerSlots) * 32)
    registerFile.resize(size_t(kernel.registerSlots) * 32);
  predicateFile.assign(kernel.predicateSlots, 0);
  predicateFile[1] = allLanes;
  lanePc.fill(kernel.begin);
  laneFrame.fill(0);
  laneStamp.fill(0);
  waits.fill(Wait::None);
  alignedWaiters = stamp = divergedFor = forcedFor = 0;
  executed = clockReads = 0;
  epoch = 1;
  known.fill(KnowledgeRef());
  fenced.fill(KnowledgeRef());
  seen.fill(KnowledgeRef());
  fencedEpoch.fill(0);
  openGroup.fill(0);
  for (auto &groups : pendingGroups)
    groups.clear();
  local.clear();
  localDefined.clear();
  localCapacity = 0;
  growLocal(kernel.frameBytes);
  enterFrame(0);
}

void Warp::enterFrame(uint32_t to) {
  frame = to;
  const Frame &entered = frames[to];
  registers = registerFile.data() + size_t(entered.registerBase) * 32;
  predicates = predicateFile.data() + entered.predicateBase;
  pool = (*block->pools)[entered.function];
  localBase = entered.localBase;
}

uint32_t Warp::childFrame(uint32_t function, uint32_t callPc) {
  for (uint32_t i = 1; i < frames.size(); ++i)
    if (frames[i].parent == frame && frames[i].callPc == callPc && frames[i].function == function)
      return i;
  const Frame &parent = frames[frame];
  const Function &caller = program->functions[parent.function], &callee = program->functions[function];
  Frame child{function,
              frame,
              callPc,
              parent.depth + 1,
              parent.registerBase + caller.registerSlots,
              parent.predicateBase + caller.predicateSlots,
              (parent.localBase + caller.frameBytes + 15) / 16 * 16};
  frames.push_back(child);
  size_t registersEnd = size_t(child.registerBase + callee.registerSlots) * 32;
  if (registerFile.size() < registersEnd)
    registerFile.resize(registersEnd);
  if (predicateFile.size() < child.predicateBase + callee.predicateSlots)
    predicateFile.resize(child.predicateBase + callee.predicateSlots);
  growLocal(child.localBase + callee.frameBytes);
  return static_cast<uint32_t>(frames.size() - 1);
}

void Warp::growLocal(uint32_t bytes) {
  if (bytes <= localCapacity)
    return;
  uint32_t capacity = (bytes + 15) / 16 * 16;
  std::vector<uint8_t> data(size_t(capacity) * 32), defined(size_t(capacity) * 32);
  for (unsigned lane = 0; lane < 32 && localCapacity; ++lane) {
    std::copy_n(local.data() + size_t(lane) * localCapacity, localCapacity, data.data() + size_t(lane) * capacity);
    std::copy_n(localDefined.data() + size_t(lane) * localCapacity, localCapacity,
                defined.data() + size_t(lane) * capacity);
  }
  local.swap(data);
  localDefined.swap(defined);
  localCapacity = capacity;
}

// Deepest frame first, so that calls return before the caller goes on; then the smallest program counter. A group that
// others wait for without end (a spin) makes room for the lanes that ran longest ago.
bool Warp::pick() {
  repick = false;
  if (!runnable)
    return false;
  unsigned first = __builtin_ctz(runnable);
  if (diverged && divergedFor > divergedQuantum && !forcedFor) {
    forLanes(runnable, [&](unsigned lane) {
      if (laneStamp[lane] < laneStamp[first])
        first = lane;
    });
    forcedFor = forcedQuantum;
    divergedFor = 0;
    leader = first;
  } else if (forcedFor && (runnable >> leader & 1)) {
    first = leader;
  } else {
    forcedFor = 0;
    forLanes(runnable, [&](unsigned lane) {
      uint32_t depth = frames[laneFrame[lane]].depth, best = frames[laneFrame[first]].depth;
      if (depth > best || (depth == best && lanePc[lane] < lanePc[first]))
        first = lane;
    });
  }
  active = 0;
  stopPc = ~0u;
  uint32_t atPc = lanePc[first], atFrame = laneFrame[first];
  forLanes(runnable, [&](unsigned lane) {
    if (laneFrame[lane] != atFrame)
      return;
    if (lanePc[lane] == atPc)
      active |= 1u << lane;
    else if (lanePc[lane] > atPc)
      stopPc = std::min(stopPc, lanePc[lane]);
  });
  pc = atPc;
  diverged = active != runnable;
  if (!diverged)
    divergedFor = forcedFor = 0;
  ++stamp;
  forLanes(active, [&](unsigned lane) { laneStamp[lane] = stamp; });
  if (frame != atFrame || registers != registerFile.data() + size_t(frames[atFrame].registerBase) * 32)
    enterFrame(atFrame);
  return true;
}

template <bool Debug> uint64_t Warp::run(uint64_t quantum) {
  uint64_t done = 0;
  while (done < quantum && pick()) {
    if (alignedWaiters)
      checkBypass();
    // Alone, the group runs on; with others behind, single steps at first keep an eye on those it may join.
    uint64_t limit = alignedWaiters ? done + 1 : quantum;
    if (diverged)
      limit = std::min<uint64_t>(limit, done + (forcedFor ? forcedFor : divergedQuantum));
    uint64_t before = done;
    const Instr *code = program->code.data();
    while (done < limit && pc < stopPc && !repick) {
      const Instr &instr = code[pc++];
      uint32_t lanes = active;
      if (instr.guard >= 0)
        lanes &= instr.guardNegated ? ~predicates[instr.guard] : predicates[instr.guard];
      ++done;
      if (Debug && lanes)
        dumpAtBreak(*this, instr, lanes);
      if (lanes)
        instr.run(*this, instr, lanes);
      if (Debug && lanes)
        traceInstruction(*this, instr, lanes);
    }
    if (!repick)
      spill(active, pc);
    if (diverged) {
      uint32_t steps = static_cast<uint32_t>(done - before);
      divergedFor += forcedFor ? 0 : steps;
      forcedFor = forcedFor > steps ? forcedFor - steps : 0;
    }
  }
  executed += done;
  return done;
}

template uint64_t Warp::run<false>(uint64_t);
template uint64_t Warp::run<true>(uint64_t);

// The lanes stop with program counter `at`; the group has been spilled or will be by the caller's `repick`.
void Warp::suspend(uint32_t lanes, Wait why, uint32_t at) {
  forLanes(lanes, [&](unsigned lane) {
    lanePc[lane] = at;
    waits[lane] = why;
  });
  runnable &= ~lanes;
  if (why == Wait::Aligned)
    alignedWaiters |= lanes;
  repick = true;
}

void Warp::resume(uint32_t lanes) {
  forLanes(lanes, [&](unsigned lane) { waits[lane] = Wait::None; });
  runnable |= lanes & live;
  alignedWaiters &= ~lanes;
  repick = true;
}

uint32_t Warp::waiting(Wait why) const {
  uint32_t lanes = 0;
  forLanes(live & ~runnable, [&](unsigned lane) {
    if (waits[lane] == why)
      lanes |= 1u << lane;
  });
  return lanes;
}

void Warp::exitLanes(uint32_t lanes) {
  live &= ~lanes;
  runnable &= ~lanes;
  repick = true;
  forLanes(waiting(Wait::Sync), [&](unsigned lane) {
    uint32_t absent = waitMask[lane] & lanes;
    if (absent)
      fault(Report::SyncMask, program->code[lanePc[lane]], lane,
            "waits for lane " + std::to_string(__builtin_ctz(absent)) + ", which has exited");
  });
  // Those at an .aligned instruction may now be all that live: they look again.
  if (alignedWaiters)
    resume(alignedWaiters);
}

bool Warp::alignedArrival(const Instr &instr, uint32_t lanes) {
  if (lanes == live)
    return true;
  uint32_t here = lanes, self = pc - 1;
  forLanes(alignedWaiters, [&](unsigned lane) {
    if (lanePc[lane] == self && laneFrame[lane] == frame)
      here |= 1u << lane;
  });
  spill(active, pc);
  if (here == live) { // the last ones: all go together
    spill(lanes, self);
    resume(here & ~lanes);
    return false;
  }
  suspend(lanes, Wait::Aligned, self);
  return false;
}

bool Warp::syncArrival(const Instr &instr, uint32_t lanes, const uint64_t *masks) {
  uint32_t needed = 0;
  forLanes(lanes, [&](unsigned lane) {
    uint32_t mask = static_cast<uint32_t>(masks[lane]);
    needed |= mask;
    if (!(mask >> lane & 1))
      fault(Report::SyncMask, instr, lane, "is not in its own member mask");
    if (uint32_t absent = mask & ~live)
      fault(Report::SyncMask, instr, lane,
            "names lane " + std::to_string(__builtin_ctz(absent)) +
                (present & absent ? ", which has exited" : ", which does not exist"));
  });
  if ((needed & ~lanes) == 0)
    return true;
  uint32_t self = pc - 1, parked = 0;
  forLanes(waiting(Wait::Sync), [&](unsigned lane) {
    if (lanePc[lane] == self && laneFrame[lane] == frame)
      parked |= 1u << lane;
  });
  spill(active, pc);
  if ((needed & ~(lanes | parked)) == 0) {
    spill(lanes, self);
    resume(parked);
    return false;
  }
  forLanes(lanes, [&](unsigned lane) { waitMask[lane] = static_cast<uint32_t>(masks[lane]); });
  suspend(lanes, Wait::Sync, self);
  return false;
}

// Lanes wait at an .aligned instruction. If others are about to run code that follows it and will not come back to it,
// they have gone around it: the instruction is in divergent code.
void Warp::checkBypass() {
  const Instr &next = program->code[pc];
  if (next.control != Control::None && next.control != Control::Sync && next.control != Control::Call)
    return;
  uint32_t looked = ~0u; // most often all wait at one place
  forLanes(alignedWaiters, [&](unsigned lane) {
    if (laneFrame[lane] != frame || lanePc[lane] == looked)
      return;
    looked = lanePc[lane];
    const Reach &reach = block->reach(lanePc[lane]);
    if (reach.follows[pc - reach.begin] && !reach.leadsTo[pc - reach.begin])
      fault(Report::Divergence, program->code[lanePc[lane]], lane,
            "lane " + std::to_string(__builtin_ctz(active)) +
                " of the warp went around this .aligned instruction (to PTX line " + std::to_string(next.line) + ")");
  });
}

void Warp::fault(Report::Kind kind, const Instr &instr, unsigned lane, const std::string &detail, uint64_t address,
                 const char *space, const std::string &allocation) const {
  Report report;
  report.kind = kind;
  report.kernel = block->info->name;
  report.ptxLine = instr.line;
  report.block = block->at;
  report.warp = index;
  report.lane = lane;
  report.address = address;
  report.space = space;
  report.allocation = allocation;
  report.detail = detail;
  report.instruction = program->lineText(instr.line);
  throw Fault{report};
}

} // namespace gpusim
