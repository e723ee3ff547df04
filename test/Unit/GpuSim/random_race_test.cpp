// Random uses of shared memory: the simulator must report a race exactly when two accesses conflict and nothing orders
// them.
//
// The oracle keeps a full vector clock for every thread and all accesses of every cell, which is slow, simple and
// shares no idea with the simulator's compressed one.

#include "test/Unit/GpuSim/sim_kernel.h"

#include <array>
#include <random>

namespace gpusim {
namespace {

constexpr unsigned warpCount = 3, threadCount = 32 * warpCount, cellCount = 128;

enum Kind { Store, Load, Atomic, WarpBarrier, PairBarrier, BlockBarrier };

// Something that happens: an access or barrier of one warp's lanes, a barrier of two warps or of all.
struct Event {
  Kind kind;
  unsigned warp;  // PairBarrier: the warp that stays away
  uint32_t lanes; // of an access or a WarpBarrier
  unsigned factor, offset;
  unsigned cell(unsigned thread) const { return (thread * factor + offset) % cellCount; }
};

using Clock = std::array<uint32_t, threadCount>;

struct PastAccess {
  unsigned thread;
  uint32_t time; // of that thread
  Kind kind;
};

// Executes the events in their order; true if two accesses race.
bool races(const std::vector<Event> &events) {
  std::vector<Clock> clocks(threadCount, Clock{});
  std::vector<std::vector<PastAccess>> cells(cellCount);
  for (unsigned t = 0; t < threadCount; ++t)
    clocks[t][t] = 1;
  auto meet = [&](auto &&takesPart) {
    Clock all{};
    for (unsigned t = 0; t < threadCount; ++t)
      for (unsigned u = 0; takesPart(t) && u < threadCount; ++u)
        all[u] = std::max(all[u], clocks[t][u]);
    for (unsigned t = 0; t < threadCount; ++t)
      if (takesPart(t)) {
        clocks[t] = all;
        ++clocks[t][t];
      }
  };
  for (const Event &event : events) {
    auto among = [&](unsigned t) { return t / 32 == event.warp && (event.lanes >> t % 32 & 1); };
    if (event.kind == BlockBarrier)
      meet([](unsigned) { return true; });
    else if (event.kind == PairBarrier)
      meet([&](unsigned t) { return t / 32 != event.warp; });
    else if (event.kind == WarpBarrier)
      meet(among);
    for (unsigned t = 0; event.kind <= Atomic && t < threadCount; ++t) {
      if (!among(t))
        continue;
      std::vector<PastAccess> &past = cells[event.cell(t)];
      for (const PastAccess &other : past) {
        bool conflict = (event.kind != Load || other.kind != Load) && (event.kind != Atomic || other.kind != Atomic);
        if (conflict && other.thread != t && clocks[t][other.thread] < other.time)
          return true;
      }
      past.push_back({t, clocks[t][t], event.kind});
    }
  }
  return false;
}

std::string accessText(const Event &event, unsigned number) {
  std::string text =
      "shr.u32 %r1, " + std::to_string(event.lanes) + ", %r9;\nand.b32 %r1, %r1, 1;\nsetp.ne.u32 %p1, %r1, 0;\n";
  if (event.kind == WarpBarrier)
    return text + "@%p1 bar.warp.sync " + std::to_string(event.lanes) + ";\n";
  text += "mad.lo.u32 %r2, %t, " + std::to_string(event.factor) + ", " + std::to_string(event.offset) +
          ";\nand.b32 %r2, %r2, " + std::to_string(cellCount - 1) + ";\nshl.b32 %r2, %r2, 2;\nadd.u32 %r2, %r2, %r8;\n";
  // No two stores are of the same value: equal values of one warp are forgiven.
  if (event.kind == Store)
    return text + "add.u32 %r3, %t, " + std::to_string(1000 * (number + 1)) + ";\n@%p1 st.shared.u32 [%r2], %r3;\n";
  return text + (event.kind == Load ? "@%p1 ld.shared.u32 %r3, [%r2];\n" : "@%p1 red.shared.add.u32 [%r2], 1;\n");
}

std::string programText(const std::vector<Event> &events) {
  // All cells hold something before the first event, and everybody knows it.
  std::string text = ".shared .align 4 .b8 cells[" + std::to_string(4 * cellCount) +
                     "];\nmov.u32 %r8, cells;\nand.b32 %r9, %t, 31;\n" +
                     "mad.lo.u32 %r2, %t, 4, %r8;\nst.shared.u32 [%r2], 0;\nsetp.lt.u32 %p1, %t, " +
                     std::to_string(cellCount - threadCount) + ";\n@%p1 st.shared.u32 [%r2+" +
                     std::to_string(4 * threadCount) +
                     "], 0;\nbar.sync 0;\nshr.u32 %r1, %t, 5;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 bra W1;\nsetp.eq.u32 "
                     "%p1, %r1, 2;\n@%p1 bra W2;\n";
  for (unsigned warp = 0; warp < warpCount; ++warp) {
    text += "W" + std::to_string(warp) + ":\n";
    for (size_t i = 0; i < events.size(); ++i) {
      const Event &event = events[i];
      if (event.kind == BlockBarrier)
        text += "bar.sync 0;\n";
      else if (event.kind == PairBarrier)
        text += event.warp == warp ? "" : "bar.sync " + std::to_string(1 + event.warp) + ", 64;\n";
      else if (event.warp == warp)
        text += accessText(event, unsigned(i));
    }
    text += "ret;\n";
  }
  return kernel(text);
}

std::vector<Event> randomEvents(std::mt19937 &random) {
  constexpr Kind kinds[] = {Store,  Store,       Load,        Load,        Load,        Atomic,
                            Atomic, WarpBarrier, PairBarrier, PairBarrier, BlockBarrier};
  constexpr uint32_t masks[] = {0xffffffff, 0xffffffff, 0x0000ffff, 0x00000001, 0x00010000, 0x0f0f0f0f};
  constexpr unsigned offsets[] = {0, 0, 32, 64, 96, 1};
  std::vector<Event> events;
  for (unsigned n = 4 + random() % 10; n; --n)
    events.push_back({kinds[random() % 11], unsigned(random() % warpCount), masks[random() % 6],
                      random() % 8 ? 1u : unsigned(random() % 2) * 2, offsets[random() % 6]});
  return events;
}

TEST(RandomRace, ReportedExactlyWhenTwoAccessesAreUnordered) {
  unsigned racy = 0, clean = 0;
  for (uint32_t seed = 1; seed <= 1200; ++seed) {
    std::mt19937 random(seed);
    std::vector<Event> events = randomEvents(random);
    std::string text = programText(events);
    Sim sim(text);
    sim.options.seed = seed % 4;
    std::optional<Report> report = sim.run("k", {1}, {threadCount}, sim.buffer(4));
    bool expected = races(events);
    ++(expected ? racy : clean);
    ASSERT_EQ(report.has_value(), expected)
        << "seed " << seed << ": " << (report ? report->text() : "no report") << "\n"
        << text;
    if (report) {
      ASSERT_EQ(report->kind, Report::Race) << report->text();
    }
  }
  EXPECT_GT(racy, 300u);
  EXPECT_GT(clean, 300u);
}

} // namespace
} // namespace gpusim
