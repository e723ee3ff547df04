// Values computed by kernels: arithmetic, memory, calls, warp and matrix instructions.
#include "test/Unit/GpuSim/sim_kernel.h"

namespace gpusim {
namespace {

using Words = std::vector<uint32_t>;

Words runWarp(const std::string &body, unsigned threads = 32, unsigned sm = 80, const std::string &version = "8.0") {
  Sim sim(kernel(body), sm, version);
  uint64_t out = sim.buffer(threads * 4);
  expectClean(sim.run("k", {1}, {threads}, out));
  return sim.download<uint32_t>(out, threads);
}

TEST(Execute, IntegerArithmetic) {
  Words out = runWarp("mad.lo.u32 %r1, %t, %t, 7;\nsub.s32 %r2, 5, %r1;\nabs.s32 %r3, %r2;\nmul.hi.u32 %r4, %r3, -1;\n"
                      "shl.b32 %r5, %r4, 3;\nbfe.s32 %r6, %r5, 2, 6;\nst.global.u32 [%mine], %r6;\nret;");
  for (unsigned i = 0; i < 32; ++i) {
    uint32_t r3 = static_cast<uint32_t>(std::abs(5 - static_cast<int>(i * i + 7)));
    uint32_t r4 = static_cast<uint32_t>(uint64_t(r3) * 0xffffffffu >> 32);
    int32_t field = static_cast<int32_t>((r4 << 3) << 24) >> 26;
    EXPECT_EQ(out[i], static_cast<uint32_t>(field)) << i;
  }
}

TEST(Execute, CarryChain) {
  Words out =
      runWarp("not.b32 %r1, %t;\nadd.cc.u32 %r2, %r1, 5;\naddc.u32 %r3, 0, 0;\nsub.cc.u32 %r4, %t, 3;\n"
              "subc.u32 %r5, 10, 0;\nshl.b32 %r3, %r3, 8;\nor.b32 %r3, %r3, %r5;\nst.global.u32 [%mine], %r3;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], (uint64_t(~i) + 5 > 0xffffffffu ? 0x100u : 0u) | (i < 3 ? 9u : 10u)) << i;
}

TEST(Execute, LoopWithDifferentTripCounts) {
  Words out = runWarp("mov.u32 %r1, 0;\nmov.u32 %r2, 0;\nL:\nadd.u32 %r2, %r2, %r1;\nadd.u32 %r1, %r1, 1;\n"
                      "setp.le.u32 %p1, %r1, %t;\n@%p1 bra L;\nst.global.u32 [%mine], %r2;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], i * (i + 1) / 2);
}

TEST(Execute, BranchTable) {
  Words out =
      runWarp("and.b32 %r1, %t, 3;\nT: .branchtargets A, B, C, D;\nbrx.idx %r1, T;\nA: mov.u32 %r2, 10;\nbra.uni E;\n"
              "B: mov.u32 %r2, 20;\nbra.uni E;\nC: mov.u32 %r2, 30;\nbra.uni E;\nD: mov.u32 %r2, 40;\n"
              "E: st.global.u32 [%mine], %r2;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], 10 * (i % 4 + 1));
}

const char *fibonacci =
    ".func (.param .b32 result) fib(.param .b32 n)\n{\n.reg .b32 %a<6>;\n.reg .pred %q;\n"
    "ld.param.u32 %a0, [n];\nsetp.lt.u32 %q, %a0, 2;\n@%q bra DONE;\n"
    "sub.u32 %a1, %a0, 1;\nsub.u32 %a2, %a0, 2;\n"
    "{\n.param .b32 x;\n.param .b32 y;\nst.param.b32 [x], %a1;\ncall (y), fib, (x);\nld.param.b32 %a3, [y];\n}\n"
    "{\n.param .b32 x;\n.param .b32 y;\nst.param.b32 [x], %a2;\ncall (y), fib, (x);\nld.param.b32 %a4, [y];\n}\n"
    "add.u32 %a0, %a3, %a4;\nDONE: st.param.b32 [result], %a0;\nret;\n}\n";

TEST(Execute, DivergentRecursion) {
  Sim sim(kernel("rem.u32 %r1, %t, 9;\n{\n.param .b32 a;\n.param .b32 b;\nst.param.b32 [a], %r1;\ncall (b), fib, (a);\n"
                 "ld.param.b32 %r2, [b];\n}\nst.global.u32 [%mine], %r2;\nret;",
                 "k", fibonacci));
  uint64_t out = sim.buffer(128);
  expectClean(sim.run("k", {1}, {32}, out));
  Words values = sim.download<uint32_t>(out, 32);
  const uint32_t expected[] = {0, 1, 1, 2, 3, 5, 8, 13, 21};
  for (unsigned i = 0; i < 32; ++i)
    EXPECT_EQ(values[i], expected[i % 9]);
}

TEST(Execute, IndirectCall) {
  Sim sim(kernel(
      "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\nmov.u64 %rd1, twice;\nmov.u64 %rd2, thrice;\n"
      "selp.b64 %rd3, %rd1, %rd2, %p1;\n{\n.param .b32 a;\n.param .b32 b;\nst.param.b32 [a], %t;\n"
      "P: .callprototype (.param .b32 _) _ (.param .b32 _);\ncall (b), %rd3, (a), P;\nld.param.b32 %r2, [b];\n}\n"
      "st.global.u32 [%mine], %r2;\nret;",
      "k",
      ".func (.param .b32 r) twice(.param .b32 n)\n{\n.reg .b32 %a;\nld.param.u32 %a, [n];\nadd.u32 %a, %a, %a;\n"
      "st.param.b32 [r], %a;\nret;\n}\n.func (.param .b32 r) thrice(.param .b32 n)\n{\n.reg .b32 %a;\n"
      "ld.param.u32 %a, [n];\nmul.lo.u32 %a, %a, 3;\nst.param.b32 [r], %a;\nret;\n}\n"));
  uint64_t out = sim.buffer(128);
  expectClean(sim.run("k", {1}, {32}, out));
  Words values = sim.download<uint32_t>(out, 32);
  for (unsigned i = 0; i < 32; ++i)
    EXPECT_EQ(values[i], i % 2 ? 3 * i : 2 * i);
}

TEST(Execute, LocalAndGenericAddresses) {
  Words out = runWarp(
      ".local .align 4 .b8 depot[16];\n.shared .align 4 .b8 sh[128];\nmov.u64 %rd1, depot;\ncvta.local.u64 %rd2, "
      "%rd1;\n"
      "st.u32 [%rd2+4], %t;\nld.local.u32 %r1, [depot+4];\nmov.u64 %rd3, sh;\ncvta.shared.u64 %rd3, %rd3;\n"
      "mad.wide.u32 %rd3, %t, 4, %rd3;\nst.u32 [%rd3], %r1;\nld.u32 %r2, [%rd3];\nisspacep.shared %p1, %rd3;\n"
      "selp.u32 %r3, 100, 0, %p1;\nadd.u32 %r2, %r2, %r3;\nst.u32 [%mine], %r2;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], i + 100);
}

TEST(Execute, VariablesAndInitialValues) {
  Sim sim(kernel(
      "and.b32 %r1, %t, 3;\nmul.wide.u32 %rd1, %r1, 4;\nmov.u64 %rd2, table;\nadd.s64 %rd3, %rd2, %rd1;\n"
      "ld.const.u32 %r2, [%rd3];\nld.global.u64 %rd4, [pointer];\nld.global.u32 %r3, [%rd4];\nadd.u32 %r2, %r2, %r3;\n"
      "ld.global.u32 %r4, [zeros+4];\nadd.u32 %r2, %r2, %r4;\nst.global.u32 [%mine], %r2;\nret;",
      "k",
      ".const .align 4 .u32 table[4] = {1, 2, 3, 4};\n.global .align 4 .u32 one = 1000;\n"
      ".global .align 8 .u64 pointer = generic(one);\n.global .align 4 .b8 zeros[8];\n"));
  uint64_t out = sim.buffer(128);
  expectClean(sim.run("k", {1}, {32}, out));
  EXPECT_EQ(sim.download<uint32_t>(out, 4), (Words{1001, 1002, 1003, 1004}));
  EXPECT_EQ(sim.module->findVariable("table")->size, 16u);
}

TEST(Execute, ShuffleVoteMatchRedux) {
  Words out = runWarp("shfl.sync.bfly.b32 %r1|%p1, %t, 3, 31, -1;\nshfl.sync.up.b32 %r2|%p2, %t, 1, 0, -1;\n"
                      "setp.lt.u32 %p3, %t, 5;\nvote.sync.ballot.b32 %r3, %p3, -1;\nand.b32 %r4, %t, 1;\n"
                      "match.any.sync.b32 %r5, %r4, -1;\nredux.sync.add.u32 %r6, %t, -1;\npopc.b32 %r5, %r5;\n"
                      "add.u32 %r7, %r1, %r2;\nmad.lo.u32 %r7, %r3, 100, %r7;\nmad.lo.u32 %r7, %r5, 10000, %r7;\n"
                      "mad.lo.u32 %r7, %r6, 1000000, %r7;\nst.global.u32 [%mine], %r7;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], (i ^ 3) + (i ? i - 1 : 0) + 31 * 100 + 16 * 10000 + 496 * 1000000);
}

TEST(Execute, SharedAndBarrier) {
  Words out =
      runWarp(".shared .align 4 .b8 sh[512];\nmov.u32 %r1, sh;\nmad.lo.u32 %r2, %t, 4, %r1;\nst.shared.u32 [%r2], %t;\n"
              "bar.sync 0;\nsub.u32 %r3, 127, %t;\nmad.lo.u32 %r4, %r3, 4, %r1;\nld.shared.u32 %r5, [%r4];\n"
              "st.global.u32 [%mine], %r5;\nret;",
              128);
  for (uint32_t i = 0; i < 128; ++i)
    EXPECT_EQ(out[i], 127 - i);
}

TEST(Execute, BarrierReduction) {
  Words out = runWarp("setp.gt.u32 %p1, %t, 9;\nbar.red.popc.u32 %r1, 0, %p1;\nbar.red.or.pred %p2, 0, %p1;\n"
                      "bar.red.and.pred %p3, 0, %p1;\nselp.u32 %r2, 1000, 0, %p2;\nselp.u32 %r3, 5000, 0, %p3;\n"
                      "add.u32 %r1, %r1, %r2;\nadd.u32 %r1, %r1, %r3;\nst.global.u32 [%mine], %r1;\nret;",
                      64);
  EXPECT_EQ(out, Words(64, 1054));
}

TEST(Execute, Atomics) {
  Sim sim(kernel("atom.global.add.u32 %r1, [%out], 1;\nred.global.max.u32 [%out+4], %t;\natom.global.add.f32 %f1, "
                 "[%out+8], 0f3F000000;\n"
                 "atom.global.cas.b32 %r2, [%out+12], 7, 9;\natom.global.inc.u32 %r3, [%out+16], 4;\nret;"));
  uint64_t out = sim.upload(Words{0, 0, 0, 7, 0});
  sim.options.threads = 2;
  expectClean(sim.run("k", {8}, {64}, out));
  EXPECT_EQ(sim.download<uint32_t>(out, 5), (Words{512, 63, 0x43800000, 9, 512 % 5}));
}

TEST(Execute, FloatAtomicsFlushSubnormalsInGlobalMemoryOnly) {
  Words out = runWarp(
      ".shared .align 4 .b8 sh[4];\nmov.f32 %f1, 0f00000001;\nst.shared.f32 [sh], %f1;\nst.global.f32 [%mine], %f1;\n"
      "setp.ne.u32 %p1, %t, 0;\n@%p1 bra SHARED;\nred.global.add.f32 [%mine], %f1;\nret;\n"
      "SHARED: red.shared.add.f32 [sh], %f1;\nld.shared.u32 %r1, [sh];\nst.global.u32 [%mine], %r1;\nret;",
      2);
  EXPECT_EQ(out, (Words{0, 2}));
}

TEST(Execute, PackPermuteVectors) {
  Words out = runWarp("mov.b64 %rd1, {%t, 7};\nmov.b64 {%r1, %r2}, %rd1;\nprmt.b32 %r3, %r1, %r2, 0x4140;\n"
                      "mov.b32 {%h1, %h2}, %r3;\nmov.b32 %r4, {%h2, %h1};\nst.global.u32 [%mine], %r4;\nret;");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], (7u << 8 | i) << 16 | 7u << 8) << i;
}

TEST(Execute, LoadMatrixAndMma) {
  // A = row index, B = identity: with ldmatrix of a 16 x 16 tile, D = A.
  Words out = runWarp(
      ".shared .align 16 .b8 sh[512];\nmov.u32 %r1, sh;\ncvt.rn.f32.u32 %f1, %t;\ncvt.rn.bf16.f32 %h1, %f1;\n"
      "mov.b32 %r2, {%h1, %h1};\nmad.lo.u32 %r3, %t, 16, %r1;\nst.shared.v4.b32 [%r3], {%r2, %r2, %r2, %r2};\n"
      "bar.sync 0;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r3];\n"
      "mov.u32 %r8, 0x3f803f80;\nmov.u32 %r9, 0;\nmov.f32 %f0, 0f00000000;\n"
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r4, %r5, %r6, %r7}, {%r8, %r9}, "
      "{%f0, %f0, %f0, %f0};\nadd.f32 %f2, %f2, %f4;\ncvt.rzi.u32.f32 %r10, %f2;\nst.global.u32 [%mine], %r10;\nret;");
  // Lane l reads rows of matrices l / 8; D[row][0] sums 8 elements (k 0-7) of value `row` and `row + 8`.
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], 8 * (i / 4) + 8 * (i / 4 + 8)) << i;
}

TEST(Execute, AsyncCopyWithZeroFill) {
  Sim sim(kernel(
      ".shared .align 16 .b8 sh[512];\nmov.u32 %r1, sh;\nmad.lo.u32 %r2, %t, 16, %r1;\nmad.wide.u32 %rd1, %t, 16, "
      "%out;\n"
      "setp.lt.u32 %p1, %t, 31;\nselp.u32 %r3, 16, 4, %p1;\ncp.async.cg.shared.global [%r2], [%rd1], 16, %r3;\n"
      "cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2];\n"
      "add.u32 %r4, %r4, %r7;\nst.global.u32 [%rd1], %r4;\nret;"));
  Words data(128);
  for (unsigned i = 0; i < 128; ++i)
    data[i] = i;
  uint64_t out = sim.upload(data);
  expectClean(sim.run("k", {1}, {32}, out));
  Words result = sim.download<uint32_t>(out, 128);
  for (unsigned i = 0; i < 31; ++i)
    EXPECT_EQ(result[4 * i], 8 * i + 3);
  EXPECT_EQ(result[124], 124u);
}

TEST(Execute, Lop3WithPredicate) {
  Words out = runWarp("setp.eq.u32 %p1, %t, 31;\nlop3.or.b32 %r1|%p2, %t, 1, 0, 0xc0, %p1;\nselp.u32 %r2, 10, 0, %p2;\n"
                      "add.u32 %r1, %r1, %r2;\nst.global.u32 [%mine], %r1;\nret;",
                      32, 80, "8.2");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], (i & 1) + ((i & 1) || i == 31 ? 10 : 0));
}

TEST(Execute, PairsOf16BitIntegers) {
  Words out = runWarp(
      "mad.lo.u32 %r1, %t, 0x10001, 0xfffe0003;\nmax.s16x2 %r2, %r1, 0x00000005;\nadd.u16x2 %r2, %r2, 0x0001ffff;\n"
      "st.global.u32 [%mine], %r2;\nret;",
      32, 90);
  for (uint32_t i = 0; i < 32; ++i) {
    uint32_t high = static_cast<uint32_t>(std::max(0, static_cast<int>(i) - 2)) + 1, low = std::max(5u, i + 3) - 1;
    EXPECT_EQ(out[i], high << 16 | low) << i;
  }
}

TEST(Execute, BlocksOnTwoHostThreads) {
  Sim sim(kernel(
      "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ntid.x;\nmad.lo.u32 %r3, %r1, %r2, %t;\nmad.wide.u32 %rd1, %r3, 4, %out;\n"
      "mov.u32 %r4, %ctaid.y;\nmov.u32 %r5, %nctaid.x;\nmul.lo.u32 %r5, %r5, %r2;\nmul.lo.u32 %r5, %r5, %r4;\n"
      "mad.wide.u32 %rd1, %r5, 4, %rd1;\nmad.lo.u32 %r3, %r4, 1000, %r3;\nst.global.u32 [%rd1], %r3;\nret;"));
  sim.options.threads = 2;
  uint64_t out = sim.buffer(4 * 5 * 3 * 40);
  expectClean(sim.run("k", {5, 3}, {40}, out));
  Words values = sim.download<uint32_t>(out, 5 * 3 * 40);
  for (uint32_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], i % 200 + i / 200 * 1000);
}

TEST(Debug, TraceAndBreakNameRegisters) {
  Sim sim(
      kernel(".shared .align 4 .b8 sh[4];\nmov.u32 %r7, sh;\nadd.u32 %r3, %t, 10;\nst.shared.u32 [%r7], 0x01020304;\n"
             "setp.gt.u32 %p4, %r3, 10;\nret;"));
  sim.options.traceKernel = sim.options.breakKernel = "k";
  sim.options.breakLine = 21;
  testing::internal::CaptureStderr();
  expectClean(sim.run("k", {1}, {2}, sim.buffer(8)));
  std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("add.u32 %r3, %t, 10;\n    %r3: a b\n"), std::string::npos) << text;
  EXPECT_NE(text.find("    %p4: 00000002\n"), std::string::npos) << text;
  EXPECT_NE(text.find("shared 00000: 04030201"), std::string::npos) << text;
}

TEST(Execute, DynamicSharedFollowsStatic) {
  Sim sim(kernel(".shared .align 4 .b8 fixed[20];\nmov.u32 %r1, dyn;\nst.global.u32 [%mine], %r1;\nret;", "k",
                 ".extern .shared .align 16 .b8 dyn[];\n"));
  sim.dynamicShared = 64;
  uint64_t out = sim.buffer(4);
  expectClean(sim.run("k", {1}, {1}, out));
  // `fixed` is not used by any instruction: no space is kept for it.
  EXPECT_EQ(sim.download<uint32_t>(out, 1)[0], sim.module->findKernel("k")->info.staticShared);
}

} // namespace
} // namespace gpusim
