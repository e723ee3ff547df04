// Random flow graphs: a host interpreter runs each thread alone, the simulator whole warps; the results must agree.
//
// A program has phases. A phase is a random graph of blocks (loops that nest and cross, branch tables, exits) that
// every thread leaves for the phase's barrier block, where threads exchange a value through shared memory. All blocks
// stand in the text in random order, so lanes reach a barrier from both sides, and some threads end before it.

#include "test/Unit/GpuSim/sim_kernel.h"

#include <algorithm>
#include <functional>
#include <random>

namespace gpusim {
namespace {

constexpr unsigned registerCount = 6, blocksPerPhase = 7, phaseCount = 3, threads = 80;

struct Operation {
  unsigned kind, to, a, b;
  uint32_t constant;
  bool guarded; // executed if register b is odd
};

struct FlowBlock {
  std::vector<Operation> operations;
  enum End { Jump, Branch, Table, Exit } end = Jump;
  unsigned tested = 0;           // the register that decides
  uint32_t mask = 1;             // Branch: taken if (register & mask) == 0
  std::vector<unsigned> targets; // blocks of the phase; blocksPerPhase is its barrier block
};

using Phase = std::vector<FlowBlock>;

struct Thread {
  uint32_t registers[registerCount];
  bool live = true;
};

uint32_t apply(const Operation &operation, const uint32_t *r) {
  uint32_t a = r[operation.a], b = r[operation.b];
  switch (operation.kind) {
  case 0:
    return a + b;
  case 1:
    return a * (operation.constant | 1) + b;
  case 2:
    return a ^ operation.constant;
  case 3:
    return a >> (operation.constant % 31) | 1;
  case 4:
    return std::min(a, b);
  case 5:
    return a - operation.constant;
  default:
    return a < b ? operation.constant : b;
  }
}

std::string textOf(const Operation &operation) {
  std::string to = "%v" + std::to_string(operation.to), a = "%v" + std::to_string(operation.a),
              b = "%v" + std::to_string(operation.b), c = std::to_string(operation.constant), text;
  if (operation.guarded)
    text = "and.b32 %x, " + b + ", 1;\nsetp.ne.u32 %p1, %x, 0;\n";
  std::string guard = operation.guarded ? "@%p1 " : "";
  switch (operation.kind) {
  case 0:
    return text + guard + "add.u32 " + to + ", " + a + ", " + b + ";\n";
  case 1:
    return text + guard + "mad.lo.u32 " + to + ", " + a + ", " + std::to_string(operation.constant | 1) + ", " + b +
           ";\n";
  case 2:
    return text + guard + "xor.b32 " + to + ", " + a + ", " + c + ";\n";
  case 3:
    return text + "shr.u32 %x, " + a + ", " + std::to_string(operation.constant % 31) + ";\n" + guard + "or.b32 " + to +
           ", %x, 1;\n";
  case 4:
    return text + guard + "min.u32 " + to + ", " + a + ", " + b + ";\n";
  case 5:
    return text + guard + "sub.u32 " + to + ", " + a + ", " + c + ";\n";
  default:
    return text + "setp.lt.u32 %p2, " + a + ", " + b + ";\n" + guard + "selp.b32 " + to + ", " + c + ", " + b +
           ", %p2;\n";
  }
}

Phase randomPhase(std::mt19937 &random) {
  Phase phase(blocksPerPhase);
  for (FlowBlock &block : phase) {
    for (unsigned n = random() % 4; n; --n)
      block.operations.push_back({unsigned(random() % 7), unsigned(random() % registerCount),
                                  unsigned(random() % registerCount), unsigned(random() % registerCount),
                                  uint32_t(random()), random() % 4 == 0});
    block.tested = random() % registerCount;
    block.mask = 1u << random() % 8;
    unsigned choice = random() % 16;
    block.end = choice == 0  ? FlowBlock::Exit
                : choice < 4 ? FlowBlock::Jump
                : choice < 7 ? FlowBlock::Table
                             : FlowBlock::Branch;
    for (unsigned n = 0; n < 4; ++n)
      block.targets.push_back(random() % (blocksPerPhase + 2) % (blocksPerPhase + 1));
  }
  return phase;
}

/// Runs one thread to the phase's barrier block. A budget of steps, kept in %steps, ends every loop.
void runPhase(const Phase &phase, Thread &thread) {
  unsigned at = 0, steps = 0;
  while (at != blocksPerPhase) {
    const FlowBlock &block = phase[at];
    if (++steps > 40)
      return;
    for (const Operation &operation : block.operations)
      if (!operation.guarded || thread.registers[operation.b] & 1)
        thread.registers[operation.to] = apply(operation, thread.registers);
    uint32_t tested = thread.registers[block.tested];
    switch (block.end) {
    case FlowBlock::Exit:
      if (tested % 8 == 0) {
        thread.live = false;
        return;
      }
      at = block.targets[0];
      break;
    case FlowBlock::Jump:
      at = block.targets[0];
      break;
    case FlowBlock::Branch:
      at = block.targets[tested & block.mask ? 1 : 0];
      break;
    case FlowBlock::Table:
      at = block.targets[tested & 3];
      break;
    }
  }
}

std::string store() {
  std::string text;
  for (unsigned r = 0; r < registerCount; ++r)
    text += "st.global.u32 [%place+" + std::to_string(4 * r) + "], %v" + std::to_string(r) + ";\n";
  return text;
}

std::string textOf(const FlowBlock &block, const std::string &prefix, unsigned index) {
  auto label = [&](unsigned target) { return prefix + "B" + std::to_string(target); };
  std::string text = label(index) + ":\nadd.u32 %steps, %steps, 1;\nsetp.gt.u32 %p0, %steps, 40;\n@%p0 bra " +
                     label(blocksPerPhase) + ";\n";
  for (const Operation &operation : block.operations)
    text += textOf(operation);
  std::string tested = "%v" + std::to_string(block.tested);
  switch (block.end) {
  case FlowBlock::Exit:
    text += "and.b32 %x, " + tested + ", 7;\nsetp.eq.u32 %p3, %x, 0;\n@%p3 exit;\n";
    break;
  case FlowBlock::Branch:
    text += "and.b32 %x, " + tested + ", " + std::to_string(block.mask) + ";\nsetp.ne.u32 %p3, %x, 0;\n@%p3 bra " +
            label(block.targets[1]) + ";\n";
    break;
  case FlowBlock::Table:
    text += label(index) + "T: .branchtargets " + label(block.targets[0]) + ", " + label(block.targets[1]) + ", " +
            label(block.targets[2]) + ", " + label(block.targets[3]) + ";\nand.b32 %x, " + tested +
            ", 3;\nbrx.idx %x, " + label(index) + "T;\n";
    return text;
  case FlowBlock::Jump:
    break;
  }
  return text + "bra " + label(block.targets[0]) + ";\n";
}

/// All threads store a value, meet, read that of a neighbour who may have ended (its value stays), and meet again.
std::string barrierText(unsigned phase) {
  std::string number = std::to_string(phase),
              next = phase + 1 < phaseCount ? "P" + std::to_string(phase + 1) + "B0" : "END";
  return "P" + number + "B" + std::to_string(blocksPerPhase) + ":\nst.shared.u32 [%own], %v0;\nbar.sync 0;\n" +
         "add.u32 %x, %t, " + std::to_string(7 * phase + 3) + ";\nrem.u32 %x, %x, " + std::to_string(threads) +
         ";\nshl.b32 %x, %x, 2;\nmov.u32 %y, shared;\nadd.u32 %y, %y, %x;\nld.shared.u32 %x, [%y];\nadd.u32 %v1, %v1, "
         "%x;\n" +
         "bar.sync 0;\nmov.u32 %steps, 0;\nbra " + next + ";\n";
}

std::string programText(const std::vector<Phase> &phases, std::mt19937 &random) {
  std::vector<std::string> blocks;
  for (unsigned p = 0; p < phaseCount; ++p) {
    for (unsigned b = 0; b < blocksPerPhase; ++b)
      blocks.push_back(textOf(phases[p][b], "P" + std::to_string(p), b));
    blocks.push_back(barrierText(p));
  }
  blocks.push_back("END:\n" + store() + "ret;\n");
  std::shuffle(blocks.begin(), blocks.end(), random);
  std::string text = ".reg .b32 %v<" + std::to_string(registerCount) + ">, %x, %y, %steps, %own;\n.reg .b64 %place;\n" +
                     ".shared .align 4 .b8 shared[" + std::to_string(4 * threads) + "];\nmad.wide.u32 %place, %t, " +
                     std::to_string(4 * registerCount) +
                     ", %out;\nmov.u32 %own, shared;\nmad.lo.u32 %own, %t, 4, %own;\n" +
                     "mov.u32 %steps, 0;\nst.shared.u32 [%own], %t;\nbar.sync 0;\n";
  for (unsigned r = 0; r < registerCount; ++r)
    text += "mad.lo.u32 %v" + std::to_string(r) + ", %t, " + std::to_string(2654435761u * (r + 1) | 1) + ", " +
            std::to_string(r) + ";\n";
  text += "bra P0B0;\n";
  for (const std::string &block : blocks)
    text += block;
  return kernel(text);
}

std::vector<Thread> runAll(const std::vector<Phase> &phases) {
  std::vector<Thread> all(threads);
  std::vector<uint32_t> shared(threads);
  for (uint32_t t = 0; t < threads; ++t) {
    shared[t] = t;
    for (unsigned r = 0; r < registerCount; ++r)
      all[t].registers[r] = t * (2654435761u * (r + 1) | 1) + r;
  }
  for (unsigned p = 0; p < phaseCount; ++p) {
    for (Thread &thread : all)
      if (thread.live)
        runPhase(phases[p], thread);
    for (uint32_t t = 0; t < threads; ++t)
      if (all[t].live)
        shared[t] = all[t].registers[0];
    for (uint32_t t = 0; t < threads; ++t)
      if (all[t].live)
        all[t].registers[1] += shared[(t + 7 * p + 3) % threads];
  }
  return all;
}

TEST(RandomFlow, WarpsAgreeWithThreadsRunAlone) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<Phase> phases;
    for (unsigned p = 0; p < phaseCount; ++p)
      phases.push_back(randomPhase(random));
    std::string text = programText(phases, random);
    Sim sim(text);
    sim.options.seed = seed % 3;
    sim.options.budget = 1000000;
    uint64_t out = sim.buffer(threads * registerCount * 4);
    std::optional<Report> report = sim.run("k", {1}, {threads}, out);
    ASSERT_FALSE(report) << "seed " << seed << ": " << report->text() << "\n" << text;
    std::vector<uint32_t> got = sim.download<uint32_t>(out, threads * registerCount);
    std::vector<Thread> expected = runAll(phases);
    for (unsigned t = 0; t < threads; ++t)
      for (unsigned r = 0; r < registerCount && expected[t].live; ++r)
        ASSERT_EQ(got[t * registerCount + r], expected[t].registers[r])
            << "seed " << seed << " thread " << t << " register " << r << "\n"
            << text;
  }
}

} // namespace
} // namespace gpusim
