// Faulty kernels, each reported with its kind and line; and their correct twins, which are not.
#include "test/Unit/GpuSim/sim_kernel.h"

namespace gpusim {
namespace {

const std::string sharedWord = ".shared .align 16 .b8 sh[2048];\nmov.u32 %r1, sh;\nmad.lo.u32 %r2, %t, 4, %r1;\n";

std::optional<Report> runBlock(const std::string &body, unsigned threads, uint64_t seed = 0) {
  Sim sim(kernel(body));
  sim.options.seed = seed;
  sim.options.budget = 200000;
  return sim.run("k", {1}, {threads}, sim.buffer(threads * 4, "result"));
}

TEST(Sanitizer, GlobalOutOfBounds) {
  std::optional<Report> report = runBlock("st.global.u32 [%mine+4], %t;\nret;", 64);
  expectReport(report, Report::OutOfBounds, "st.global.u32 [%mine+4]");
  EXPECT_EQ(report->warp, 1u);
  EXPECT_EQ(report->lane, 31u);
  EXPECT_NE(report->allocation.find("result"), std::string::npos) << report->text();
}

TEST(Sanitizer, UseAfterFree) {
  Sim sim(kernel("ld.global.u32 %r1, [%mine];\nret;"));
  uint64_t out = sim.upload(std::vector<uint32_t>(32), "gone");
  sim.memory.release(out);
  expectReport(sim.run("k", {1}, {32}, out), Report::UseAfterFree, "ld.global");
}

TEST(Sanitizer, GlobalUninitialised) {
  expectReport(runBlock("ld.global.u32 %r1, [%mine];\nret;", 32), Report::Uninitialised, "ld.global");
}
TEST(Sanitizer, Misaligned) {
  expectReport(runBlock("st.global.u32 [%out+2], %t;\nret;", 32), Report::Misaligned, "[%out+2]");
}
TEST(Sanitizer, NullPointer) {
  expectReport(runBlock("mov.u64 %rd1, 0;\nst.u32 [%rd1], 1;\nret;", 32), Report::OutOfBounds, "st.u32");
}

TEST(Sanitizer, SharedOutOfBounds) {
  expectReport(runBlock(sharedWord + "st.shared.u32 [%r2+1924], %t;\nret;", 32), Report::OutOfBounds, "st.shared");
}
TEST(Sanitizer, SharedUninitialised) {
  expectReport(runBlock(sharedWord + "ld.shared.u32 %r3, [%r2];\nret;", 32), Report::Uninitialised, "ld.shared");
}
TEST(Sanitizer, LocalUninitialisedAndOutOfBounds) {
  const std::string local = ".local .align 4 .b8 l[8];\nmov.u64 %rd1, l;\n";
  expectReport(runBlock(local + "ld.local.u32 %r1, [%rd1+4];\nret;", 32), Report::Uninitialised, "ld.local");
  expectReport(runBlock(local + "st.local.u32 [%rd1+8], 0;\nret;", 32), Report::OutOfBounds, "st.local");
}

// Each thread writes its word and reads that of the thread `distance` away.
std::string swapWords(const std::string &between, unsigned distance) {
  return sharedWord + "st.shared.u32 [%r2], 0;\nbar.sync 0;\nst.shared.u32 [%r2], %t;\n" + between +
         "xor.b32 %r3, %t, " + std::to_string(distance) +
         ";\nmad.lo.u32 %r4, %r3, 4, %r1;\nld.shared.u32 %r5, [%r4];\nst.global.u32 [%mine], %r5;\nret;";
}

TEST(Race, MissingBlockBarrier) { expectReport(runBlock(swapWords("", 32), 64, 3), Report::Race, "hared"); }
TEST(Race, BlockBarrierOrders) { expectClean(runBlock(swapWords("bar.sync 0;\n", 32), 64)); }
TEST(Race, LanesOfOneWarp) { expectReport(runBlock(swapWords("", 1), 32), Report::Race, "ld.shared"); }
TEST(Race, WarpBarrierOrdersLanes) { expectClean(runBlock(swapWords("bar.warp.sync -1;\n", 1), 32)); }
TEST(Race, WarpBarrierOrdersOnlyItsWarp) {
  expectReport(runBlock(swapWords("bar.warp.sync -1;\n", 32), 64, 3), Report::Race, "hared");
}
TEST(Race, ShuffleDoesNotOrder) {
  expectReport(runBlock(swapWords("shfl.sync.bfly.b32 %r6, %t, 1, 31, -1;\n", 1), 32), Report::Race, "ld.shared");
}
TEST(Race, WriteAfterRead) {
  std::string body = sharedWord +
                     "st.shared.u32 [%r2], %t;\nbar.sync 0;\nxor.b32 %r3, %t, 32;\nmad.lo.u32 %r4, %r3, 4, %r1;\n"
                     "ld.shared.u32 %r5, [%r4];\n";
  expectReport(runBlock(body + "st.shared.u32 [%r2], %r5;\nret;", 64), Report::Race, "hared.u32");
  expectClean(runBlock(body + "bar.sync 0;\nst.shared.u32 [%r2], %r5;\nret;", 64));
}
TEST(Race, ManyReadersThenWriter) {
  std::string body =
      sharedWord + "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1], 5;\nbar.sync 0;\nld.shared.u32 %r3, [%r1];\n";
  expectReport(runBlock(body + "@%p1 st.shared.u32 [%r1], 6;\nret;", 96), Report::Race, "6;");
  expectClean(runBlock(body + "bar.sync 0;\n@%p1 st.shared.u32 [%r1], 6;\nret;", 96));
}
TEST(Race, BytesOfOneWord) {
  expectClean(
      runBlock(".shared .align 4 .b8 sh[64];\nmov.u32 %r1, sh;\nadd.u32 %r2, %r1, %t;\nst.shared.u8 [%r2], %t;\n"
               "ld.shared.u8 %r3, [%r2];\nbar.sync 0;\nld.shared.u32 %r4, [%r1];\nret;",
               64));
}
TEST(Race, EqualValuesOfOneWarp) {
  expectClean(runBlock(sharedWord + "st.shared.u32 [%r1], 7;\nret;", 32));
  expectReport(runBlock(sharedWord + "st.shared.u32 [%r1], %t;\nret;", 32), Report::Race, "st.shared");
}
TEST(Race, AtomicsDoNotRace) {
  std::string body =
      sharedWord + "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1], 0;\nbar.sync 0;\nred.shared.add.u32 [%r1], 1;\n";
  expectClean(runBlock(body + "bar.sync 0;\nld.shared.u32 %r3, [%r1];\nret;", 96));
  expectReport(runBlock(body + "ld.shared.u32 %r3, [%r1];\nret;", 96), Report::Race, "shared");
}

// Warps 0-1 and 2-3 use a named barrier each; a pair exchanges, or the wrong pair does.
TEST(Race, NamedBarriersOrderTheirWarps) {
  const std::string barrier = "shr.u32 %r10, %t, 6;\nadd.u32 %r10, %r10, 1;\nbar.sync %r10, 64;\n";
  expectClean(runBlock(swapWords(barrier, 32), 128));
  expectReport(runBlock(swapWords(barrier, 64), 128), Report::Race, "ld.shared");
}
TEST(Race, ArriveOrdersProducerBeforeConsumer) {
  // Warp 0 produces and arrives, warp 1 synchronises and reads what lane 0 wrote.
  const std::string body = sharedWord +
                           "setp.lt.u32 %p1, %t, 32;\n@!%p1 bra CONSUMER;\nst.shared.u32 [%r2], %t;\n%ARRIVE%"
                           "bra.uni END;\nCONSUMER:\nbar.sync 1, 64;\nld.shared.u32 %r3, [%r2+-128];\nEND:\nret;";
  auto with = [&](const std::string &arrive) {
    std::string text = body;
    return text.replace(text.find("%ARRIVE%"), 8, arrive);
  };
  expectClean(runBlock(with("bar.arrive 1, 64;\n"), 64));
  expectReport(runBlock(with(""), 64), Report::Deadlock, "bar.sync 1, 64");
}

// Warp 0 writes a word, then sets a flag; warp 1 waits for the flag and reads. Both sides need a fence.
std::optional<Report> runFlag(const std::string &set, const std::string &wait) {
  return runBlock(
      ".shared .align 4 .b8 sh[64];\nmov.u32 %r1, sh;\nsetp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1+4], 0;\n"
      "@%p1 st.shared.u32 [%r1], 0;\nbar.sync 0;\nsetp.eq.u32 %p2, %t, 32;\n@%p2 bra WAIT;\n@!%p1 bra END;\n"
      "st.shared.u32 [%r1], 5;\n" +
          set + "bra.uni END;\nWAIT:\n" + wait +
          "setp.eq.u32 %p3, %r2, 0;\n@%p3 bra WAIT;\nld.shared.u32 %r3, [%r1];\nEND:\nret;",
      64);
}
TEST(Race, FlagsWithFencesOrder) {
  const std::string store = "st.volatile.shared.u32 [%r1+4], 1;\n", load = "ld.volatile.shared.u32 %r2, [%r1+4];\n";
  expectClean(runFlag("membar.cta;\n" + store, load + "membar.cta;\n"));
  expectReport(runFlag(store, load + "membar.cta;\n"), Report::Race, "ld.shared.u32 %r3");
  expectReport(runFlag("membar.cta;\n" + store, load), Report::Race, "ld.shared.u32 %r3");
  expectClean(runFlag("st.release.cta.shared.u32 [%r1+4], 1;\n", "ld.acquire.cta.shared.u32 %r2, [%r1+4];\n"));
  expectClean(runFlag("fence.acq_rel.cta;\nred.shared.add.u32 [%r1+4], 1;\n",
                      "atom.acquire.cta.shared.or.b32 %r2, [%r1+4], 0;\n"));
}

const std::string copy =
    ".shared .align 16 .b8 sh[2048];\nmov.u32 %r1, sh;\nmad.lo.u32 %r2, %t, 4, %r1;\nmov.u64 %rd1, source;\n"
    "mad.wide.u32 %rd1, %t, 4, %rd1;\nst.shared.u32 [%r2], 0;\nbar.sync 0;\ncp.async.ca.shared.global [%r2], [%rd1], "
    "4;\n";

std::optional<Report> runCopy(const std::string &after, unsigned threads = 64) {
  Sim sim(kernel(copy + after, "k", ".global .align 16 .b8 source[256];\n"));
  return sim.run("k", {1}, {threads}, sim.buffer(threads * 4));
}

TEST(AsyncCopy, ReadBeforeItsWait) {
  expectReport(runCopy("cp.async.commit_group;\nld.shared.u32 %r3, [%r2];\nret;"), Report::AsyncNotWaited, "ld.shared");
  expectReport(runCopy("cp.async.commit_group;\ncp.async.wait_group 1;\nld.shared.u32 %r3, [%r2];\nret;"),
               Report::AsyncNotWaited, "ld.shared");
  expectReport(runCopy("cp.async.wait_group 0;\nld.shared.u32 %r3, [%r2];\nret;"), Report::AsyncNotWaited, "ld.shared");
  expectClean(runCopy("cp.async.wait_all;\nld.shared.u32 %r3, [%r2];\nret;"));
}
// Warp 0 reads before warp 1 copies, so the copy may be the one that is late.
TEST(AsyncCopy, OthersNeedABarrier) {
  const std::string read = "xor.b32 %r3, %t, 32;\nmad.lo.u32 %r4, %r3, 4, %r1;\nld.shared.u32 %r5, [%r4];\nret;";
  expectReport(runCopy("cp.async.wait_all;\n" + read), Report::Race, "");
  expectReport(runCopy("bar.sync 0;\ncp.async.wait_all;\n" + read), Report::AsyncNotWaited, "ld.shared");
  expectClean(runCopy("cp.async.wait_all;\nbar.sync 0;\n" + read));
}
TEST(AsyncCopy, OverwrittenWhilePending) {
  expectReport(runCopy("st.shared.u32 [%r2], 1;\nret;"), Report::AsyncNotWaited, "st.shared");
}

TEST(Sanitizer, Trap) { expectReport(runBlock("setp.eq.u32 %p1, %t, 5;\n@%p1 trap;\nret;", 32), Report::Trap, "trap"); }
TEST(Sanitizer, Budget) { expectReport(runBlock("L:\nadd.u32 %r1, %r1, 1;\nbra.uni L;", 32), Report::Budget, ""); }

} // namespace
} // namespace gpusim
