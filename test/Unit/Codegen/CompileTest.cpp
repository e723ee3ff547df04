//===- CompileTest.cpp - specs to callable images -----------------------------===//
// The compile driver end to end with the probe kernels: calling them, sharing equal ones, reproducible bytes.

#include "KernelRunner.h"
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

static KernelSpec probe(ProbeBody::Kind kind, uint64_t tasks, uint64_t bytesPerTask, uint64_t steps) {
  auto body = std::make_shared<ProbeBody>();
  body->kind = kind, body->tasks = tasks, body->bytesPerTask = bytesPerTask, body->steps = steps;
  return {KernelClass::Probe, 2, body};
}

TEST(Compile, ReadProbeReadsEveryByte) {
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({probe(ProbeBody::ReadBandwidth, 3, 4096, 0)}, level);
    Buffer input(3 * 4096), output(3 * 64);
    for (size_t i = 0; i < input.size() / 4; ++i)
      input.data<uint32_t>()[i] = uint32_t(i) * 2654435761u;
    EXPECT_EQ(0u, runner.run(0, {input.data(), output.data()}, symbolsOf(1)));
    for (int task = 0; task < 3; ++task)
      for (int lane = 0; lane < 16; ++lane) {
        uint32_t expected = 0;
        for (int i = 0; i < 64; ++i)
          expected ^= input.data<uint32_t>()[task * 1024 + i * 16 + lane];
        EXPECT_EQ(expected, output.data<uint32_t>()[task * 16 + lane]);
      }
  }
}

TEST(Compile, FmaProbeComputes) {
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({probe(ProbeBody::FmaPeak, 1, 0, 100)}, level);
    Buffer input(64), output(64);
    input.data<float>()[0] = 0.5f, input.data<float>()[1] = 1.0f;
    runner.run(0, {input.data(), output.data()}, symbolsOf(1));
    float lanes = level == CpuLevel::Avx512 ? 16 : 8;
    EXPECT_EQ(12 * 2 * lanes, output.data<float>()[0]); // every chain converges to 1 / (1 - 0.5)
  }
}

TEST(Compile, EqualSpecsShareCodeAndBytesDoNotDependOnThreads) {
  std::vector<KernelSpec> specs = {probe(ProbeBody::FmaPeak, 1, 0, 100), probe(ProbeBody::ReadBandwidth, 2, 4096, 0),
                                   probe(ProbeBody::FmaPeak, 1, 0, 100)};
  CompileOptions one, two;
  one.threads = 1, two.threads = 2;
  auto a = llvm::cantFail(compileKernels(specs, one)), b = llvm::cantFail(compileKernels(specs, two));
  ASSERT_EQ(2u, a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].bytes, b[i].bytes);
    EXPECT_EQ(a[i].variants[0].entry, a[i].variants[2].entry);
    EXPECT_NE(a[i].variants[0].entry, a[i].variants[1].entry);
    EXPECT_GT(a[i].variants[0].codeSize, 0u);
  }
}
