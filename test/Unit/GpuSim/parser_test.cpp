// Modules that are refused, and what is said of those that are not.
#include "test/Unit/GpuSim/sim_kernel.h"

namespace gpusim {
namespace {

void expectError(const std::string &body, const std::string &message, const std::string &line, unsigned sm = 80,
                 const std::string &version = "8.0") {
  Sim sim(kernel(body), sm, version);
  EXPECT_FALSE(sim.module) << body;
  EXPECT_NE(sim.error.message.find(message), std::string::npos) << sim.error.str();
  EXPECT_NE(sim.error.text.find(line), std::string::npos) << sim.error.str();
  EXPECT_EQ(sim.memory.usedBytes(), 0u);
}

TEST(Parser, UnknownInstruction) {
  expectError("frobnicate.u32 %r1, %r2;", "'frobnicate' is not known", "frobnicate.u32");
}
TEST(Parser, UnknownModifier) { expectError("add.wobbly.u32 %r1, %r2, 1;", ".wobbly", "add.wobbly"); }
TEST(Parser, UndeclaredRegister) { expectError("add.u32 %r1, %nope, 1;", "%nope", "%nope"); }
TEST(Parser, UndeclaredLabel) { expectError("bra NOWHERE;", "'NOWHERE' is not declared", "bra NOWHERE"); }
TEST(Parser, TooManyOperands) { expectError("add.u32 %r1, %r2, 1, 2;", "takes 3 operands", "add.u32"); }
TEST(Parser, WrongType) { expectError("popc.u16 %r1, %h2;", "does not exist for this type", "popc"); }
TEST(Parser, RegisterOfAnotherWidth) {
  expectError("add.u64 %rd1, %r2, 1;", "32 bits where 'add' works on 64", "add.u64");
  expectError("mul.wide.u32 %r1, %r2, %r3;", "32 bits where 'mul' works on 64", "mul.wide");
  expectError("ld.global.u64 %r1, [%rd1];", "32 bits where 'ld' works on 64", "ld.global");
  expectError("cvt.u64.u32 %r1, %r2;", "32 bits where 'cvt' works on 64", "cvt.u64");
  EXPECT_TRUE(Sim(kernel("ld.global.u8 %r1, [%out];\ncvt.u16.u32 %r1, %r2;\nret;")).module);
}
TEST(Parser, MissingSemicolon) { expectError("add.u32 %r1, %r2, 1\nret;", "expected ';'", "ret"); }
TEST(Parser, ShuffleWithoutSync) { expectError("shfl.up.b32 %r1, %r2, 1, 0;", ".sync", "shfl"); }

TEST(Parser, FeaturesAboveTheTarget) {
  const char *cvt = "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;\nret;";
  expectError(cvt, "sm_89", "e4m3x2", 80, "8.1");
  expectError(cvt, ".version 8.1", "e4m3x2", 89, "8.0");
  EXPECT_TRUE(Sim(kernel(cvt), 89, "8.1").module);
  const char *mma =
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, "
      "{%f1, %f2, %f3, %f4};\nret;";
  expectError(mma, "sm_89", "mma.sync", 80, "8.4");
  expectError(mma, ".version 8.4", "mma.sync", 89, "8.3");
  EXPECT_TRUE(Sim(kernel(mma), 89, "8.4").module);
}

TEST(Parser, ModuleAboveTheDevice) {
  GlobalMemory memory;
  ParseError error;
  EXPECT_FALSE(parseModule(".version 8.0\n.target sm_90\n.address_size 64\n", deviceModel(80), memory, error));
  EXPECT_TRUE(error.unsupported);
}

TEST(Parser, KernelAttributes) {
  Sim sim(
      ".visible .entry k(.param .u32 a, .param .u64 b, .param .align 16 .b8 c[20])\n.maxntid 64, 2\n.minnctapersm 1\n"
      "{\n.reg .b32 %r<3>;\n.shared .align 8 .b8 s[40];\n.local .align 8 .b8 l[24];\nmov.u32 %r1, s;\nret;\n}\n");
  ASSERT_TRUE(sim.module) << sim.error.str();
  const KernelInfo &info = sim.module->findKernel("k")->info;
  ASSERT_EQ(info.params.size(), 3u);
  EXPECT_EQ(info.params[1].offset, 8u);
  EXPECT_EQ(info.params[2].offset, 16u);
  EXPECT_EQ(info.paramBytes, 36u);
  EXPECT_EQ(info.staticShared, 40u);
  EXPECT_EQ(info.localBytes, 32u);
  EXPECT_EQ(info.maxThreads, 128u);
}

TEST(Parser, ScopesShadowNamesAndLabels) {
  Sim sim(kernel(
      "mov.u32 %r1, 1;\n{\n.reg .b32 %r1;\nmov.u32 %r1, 50;\nbra L;\nL:\n}\n{\nbra L;\nadd.u32 %r1, %r1, 7;\nL:\n}\n"
      "st.global.u32 [%mine], %r1;\nret;"));
  uint64_t out = sim.buffer(4);
  expectClean(sim.run("k", {1}, {1}, out));
  EXPECT_EQ(sim.download<uint32_t>(out, 1)[0], 1u);
}

TEST(Parser, DebugInformationIsSkipped) {
  Sim sim(kernel(".loc 1 2 3\nret;") + ".file 1 \"a.cu\"\n.section .debug_str\n{\n.b8 1, 2\n}\n");
  EXPECT_TRUE(sim.module) << sim.error.str();
}

} // namespace
} // namespace gpusim
