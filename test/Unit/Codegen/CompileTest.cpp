//===- CompileTest.cpp - specs to callable images -----------------------------===//
// The compile driver end to end with the probe kernels: calling them, sharing equal ones, reproducible bytes.

#include "KernelRunner.h"
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

static KernelSpec probe(ProbeBody::Kind kind) { return {KernelClass::Probe, 2, std::make_shared<ProbeBody>(kind)}; }

/// Three tasks of 4096 bytes each.
static SymbolValues probeSymbols() {
  SymbolValues symbols{};
  symbols[size_t(Symbol::T)] = 3;
  symbols[size_t(Symbol::B)] = 4096;
  return symbols;
}

TEST(Compile, ReadProbeReadsEveryByte) {
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({probe(ProbeBody::ReadBandwidth)}, level);
    Buffer input(3 * 4096), output(3 * 64);
    for (size_t i = 0; i < input.size() / 4; ++i)
      input.data<uint32_t>()[i] = uint32_t(i) * 2654435761u;
    EXPECT_EQ(0u, runner.run(0, {input.data(), output.data()}, probeSymbols(), {/*layer=*/1}));
    for (int task = 0; task < 3; ++task) {
      EXPECT_EQ(4096u, output.data<uint64_t>()[task * 8]);
      for (int lane = 0; lane < 8; ++lane) {
        uint32_t expected = 0;
        for (int i = 0; i < 128; ++i)
          expected ^= input.data<uint32_t>()[task * 1024 + i * 8 + lane];
        EXPECT_EQ(expected, output.data<uint32_t>()[task * 16 + 8 + lane]);
      }
    }
  }
}

TEST(Compile, FmaProbeComputes) {
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({probe(ProbeBody::FmaPeak)}, level);
    Buffer input(3 * 4096), output(3 * 64);
    input.data<float>()[0] = 0.5f, input.data<float>()[1] = 1.0f;
    runner.run(0, {input.data(), output.data()}, probeSymbols(), {/*layer=*/2});
    unsigned lanes = level == CpuLevel::Avx512 ? 16 : 8;
    EXPECT_EQ(2u * 100000 * 12 * lanes * 2, output.data<uint64_t>()[0]);
    EXPECT_EQ(12.0f * 2 * lanes, output.data<float>()[8]); // every chain converges to 1 / (1 - 0.5)
  }
}

TEST(Compile, EqualSpecsShareCodeAndBytesDoNotDependOnThreads) {
  std::vector<KernelSpec> specs = {probe(ProbeBody::FmaPeak), probe(ProbeBody::ReadBandwidth),
                                   probe(ProbeBody::FmaPeak)};
  CompileOptions one, two;
  one.threads = 1, two.threads = 2;
  auto a = llvm::cantFail(compileKernels(specs, one)), b = llvm::cantFail(compileKernels(specs, two));
  ASSERT_EQ(2u, a.images.size());
  for (size_t i = 0; i < a.images.size(); ++i) {
    EXPECT_EQ(a.images[i].bytes, b.images[i].bytes);
    EXPECT_EQ(a.variants[0][i].entry, a.variants[2][i].entry);
    EXPECT_NE(a.variants[0][i].entry, a.variants[1][i].entry);
    EXPECT_GT(a.variants[0][i].codeSize, 0u);
  }
}
