// Divergence, spins, barriers that somebody misses, masks, the order of warps.
#include "test/Unit/GpuSim/sim_kernel.h"

namespace gpusim {
namespace {

std::optional<Report> runBlock(const std::string &body, unsigned threads, uint64_t seed = 0) {
  Sim sim(kernel(body));
  sim.options.seed = seed;
  sim.options.budget = 2000000;
  return sim.run("k", {1}, {threads}, sim.upload(std::vector<uint32_t>(threads)));
}

const std::string half = "setp.lt.u32 %p1, %t, 16;\n";

TEST(Divergence, AlignedBarrierInABranch) {
  expectReport(runBlock(half + "@!%p1 bra L;\nbar.sync 0;\nL:\nst.global.u32 [%mine], %t;\nret;", 32),
               Report::Divergence, "bar.sync");
}
TEST(Divergence, AlignedBarrierInALoopWithDifferentTripCounts) {
  expectReport(
      runBlock("mov.u32 %r1, 0;\nL:\nbar.sync 0;\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, %t;\n@%p1 bra L;\n"
               "st.global.u32 [%mine], %r1;\nret;",
               32),
      Report::Divergence, "bar.sync");
}
TEST(Divergence, DifferentAlignedBarriers) {
  expectReport(runBlock(half + "@!%p1 bra L;\nbar.sync 0;\nbra.uni E;\nL:\nbar.sync 0;\nE:\nret;", 32),
               Report::Divergence, "bar.sync");
}
TEST(Divergence, UnalignedBarrierMayDiverge) {
  expectClean(runBlock(half + "@!%p1 bra L;\nbarrier.sync 0;\nbra.uni E;\nL:\nbarrier.sync 0;\nE:\nret;", 32));
}
TEST(Divergence, LanesJoinBeforeABarrierWhateverTheLayout) {
  // The second half runs code placed after the barrier and comes back to it.
  expectClean(runBlock(half + "@!%p1 bra FAR;\nJOIN:\nbar.sync 0;\nst.global.u32 [%mine], %t;\nret;\nFAR:\nmov.u32 "
                              "%r1, 1;\nbra.uni JOIN;",
                       32));
}
TEST(Divergence, ExitedThreadsCountAsArrived) {
  expectClean(
      runBlock("setp.ge.u32 %p1, %t, 40;\n@%p1 bra END;\nbar.sync 0;\nst.global.u32 [%mine], %t;\nEND:\nret;", 64));
  expectClean(runBlock("setp.ge.u32 %p1, %t, 32;\n@%p1 exit;\nbar.sync 0;\nbar.sync 0;\nret;", 96, 5));
}

TEST(Deadlock, OneWarpMissesTheBarrier) {
  // Warp 1 waits at another barrier for ever.
  std::optional<Report> report =
      runBlock("setp.lt.u32 %p1, %t, 32;\n@!%p1 bra L;\nbar.sync 0;\nbra.uni E;\nL:\nbar.sync 1;\nE:\nret;", 64);
  expectReport(report, Report::Deadlock, "bar.sync");
}
TEST(Deadlock, CountThatNobodyReaches) {
  expectReport(runBlock("bar.sync 2, 96;\nret;", 64), Report::Deadlock, "bar.sync 2, 96");
}
TEST(Deadlock, CountExceeded) {
  expectReport(runBlock("bar.arrive 2, 32;\nbar.arrive 2, 32;\nret;", 64), Report::BadInstruction, "bar.arrive");
}

TEST(SyncMask, NamesAbsentLanes) {
  expectReport(runBlock("shfl.sync.idx.b32 %r1, %t, 0, 31, -1;\nret;", 16), Report::SyncMask, "shfl");
  expectReport(runBlock("setp.lt.u32 %p1, %t, 4;\n@%p1 exit;\nvote.sync.all.pred %p2, %p1, -1;\nret;", 32),
               Report::SyncMask, "vote");
}
TEST(SyncMask, LacksTheExecutingLane) {
  expectReport(runBlock("shfl.sync.idx.b32 %r1, %t, 0, 31, 0xffff;\nret;", 32), Report::SyncMask, "shfl");
}
TEST(SyncMask, ReadsALaneOutsideTheMask) {
  expectReport(runBlock(half + "@%p1 shfl.sync.down.b32 %r1, %t, 8, 31, 0xffff;\nret;", 32), Report::SyncMask,
               "shfl");
}
TEST(SyncMask, MembersArriveSeparately) {
  // The halves run different code before the same shuffle.
  expectClean(runBlock(
      half + "@!%p1 bra FAR;\nJOIN:\nshfl.sync.bfly.b32 %r1, %t, 16, 31, -1;\nst.global.u32 [%mine], %r1;\nret;\n"
             "FAR:\nmov.u32 %r2, 1;\nbra.uni JOIN;",
      32));
}
TEST(SyncMask, WarpBarrierFromTwoPlaces) {
  expectClean(runBlock(half + "@!%p1 bra L;\nbar.warp.sync -1;\nbra.uni E;\nL:\nbar.warp.sync -1;\nE:\nret;", 32));
}

TEST(Schedule, SpinInsideAWarpEnds) {
  // Lane 0 waits for a flag that lane 31 sets after a jump to code further down.
  expectClean(runBlock("setp.eq.u32 %p1, %t, 31;\n@%p1 bra SET;\nSPIN:\nld.volatile.global.u32 %r1, "
                       "[%out];\nsetp.eq.u32 %p2, %r1, 0;\n"
                       "@%p2 bra SPIN;\nret;\nSET:\nst.volatile.global.u32 [%out], 1;\nret;",
                       32));
}
TEST(Schedule, LockInsideAWarp) {
  Sim sim(kernel(
      "mov.u32 %r5, 0;\nSPIN:\natom.global.cas.b32 %r1, [%out], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra SPIN;\n"
      "ld.volatile.global.u32 %r2, [%out+4];\nadd.u32 %r2, %r2, 1;\nst.volatile.global.u32 [%out+4], %r2;\nmembar.gl;\n"
      "atom.global.exch.b32 %r3, [%out], 0;\nret;"));
  uint64_t out = sim.upload(std::vector<uint32_t>{0, 0});
  expectClean(sim.run("k", {1}, {64}, out));
  EXPECT_EQ(sim.download<uint32_t>(out, 2)[1], 64u);
}
TEST(Schedule, BarriersWithManySeeds) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Sim sim(kernel(
        ".shared .align 4 .b8 sh[1024];\nmov.u32 %r1, sh;\nmad.lo.u32 %r2, %t, 4, %r1;\nst.shared.u32 [%r2], %t;\n"
        "mov.u32 %r3, 128;\nL:\nbar.sync 0;\nsetp.ge.u32 %p1, %t, %r3;\n@%p1 bra SKIP;\n"
        "mad.lo.u32 %r4, %r3, 4, %r2;\nld.shared.u32 %r5, [%r4];\nld.shared.u32 %r6, [%r2];\nadd.u32 %r6, %r6, %r5;\n"
        "st.shared.u32 [%r2], %r6;\nSKIP:\nshr.u32 %r3, %r3, 1;\nsetp.ne.u32 %p2, %r3, 0;\n@%p2 bra L;\n"
        "setp.eq.u32 %p3, %t, 0;\n@%p3 ld.shared.u32 %r7, [%r1];\n@%p3 st.global.u32 [%out], %r7;\nret;"));
    sim.options.seed = seed;
    uint64_t out = sim.buffer(4);
    expectClean(sim.run("k", {1}, {256}, out));
    EXPECT_EQ(sim.download<uint32_t>(out, 1)[0], 255u * 128u);
  }
}

} // namespace
} // namespace gpusim
