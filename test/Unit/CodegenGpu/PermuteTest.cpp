//===- PermuteTest.cpp - the permute kernel on GPUs --------------------------------===//
// Offsets, tokens, ranks and gates must equal those of the CPU kernel bit by bit.

#include "../CodegenRows/TestKernels.h"
#include "GpuRunner.h"
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
KernelSpec permuteSpec() {
  return specOf(R"(cmd.kernel @d permute over rows {
    ^bb0(%ids: tensor<?x4xi32>, %g: tensor<?x4xf32>):
      %o, %t, %r, %s = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32>
          -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
      lm.yield %o, %t, %r, %s : tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
    })");
}

/// Distinct experts for each row; with `crowded` nearly all rows choose the same four.
std::vector<int32_t> chooseExperts(uint64_t rows, bool crowded, Random &random) {
  std::vector<int32_t> ids;
  for (uint64_t row = 0; row < rows; ++row) {
    int32_t first = crowded && row % 7 ? 3 : int32_t(random.bits() % 16);
    for (int32_t j = 0; j < 4; ++j)
      ids.push_back((first + j * 5) % 16);
  }
  return ids;
}

struct Operands {
  std::vector<Buffer> buffers;
  std::vector<void *> pointers() const {
    std::vector<void *> all;
    for (const Buffer &buffer : buffers)
      all.push_back(buffer.data());
    return all;
  }
  std::vector<Memory> memories() const { return {buffers.begin(), buffers.end()}; }
};

Operands makeOperands(const std::vector<int32_t> &ids, const std::vector<float> &gates) {
  Operands operands;
  operands.buffers.push_back(bufferOf(ids));
  operands.buffers.push_back(bufferOf(gates));
  for (size_t words : {size_t(17), ids.size(), ids.size(), ids.size()})
    operands.buffers.push_back(bufferOf(std::vector<int32_t>(words, -77)));
  return operands;
}
} // namespace

TEST(GpuPermute, EqualsTheCpu) {
  KernelSpec spec = permuteSpec();
  KernelRunner cpu({spec}, CpuLevel::X86_64_V3);
  GpuRunner gpu({spec}, *findGpuTarget("cuda:sm_80"));
  for (uint64_t rows : {0, 1, 3, 16, 64, 65, 130})
    for (bool crowded : {false, true}) {
      SCOPED_TRACE(std::to_string(rows) + (crowded ? " crowded" : ""));
      Random random(rows);
      std::vector<int32_t> ids = chooseExperts(rows + 2, crowded, random); // two rows beyond the live ones
      std::vector<float> gates = random.normals(ids.size());
      Operands a = makeOperands(ids, gates), b = makeOperands(ids, gates);
      SymbolValues symbols = symbolsOf(rows);
      EXPECT_EQ(0u, cpu.run(0, a.pointers(), symbols));
      EXPECT_EQ(0u, gpu.run(0, b.memories(), symbols));
      for (size_t i = 0; i < a.buffers.size(); ++i)
        EXPECT_EQ(0, std::memcmp(a.buffers[i].data(), b.buffers[i].data(), a.buffers[i].size())) << "operand " << i;
    }
}
