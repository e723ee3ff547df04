//===- RouterTest.cpp - the router on GPUs --------------------------------------------===//
// Ids and gates must equal those of the CPU kernel bit by bit: every scoring and selection, ties, few rows and many.

#include "OnGpu.h"
#include <cmath>
#include <llvm/Support/FormatVariadic.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
struct RouterCase {
  const char *scoring, *method;
  size_t experts, hidden, groups, keep, top;
  bool bias, normalise;
  double scale;
  const char *type = "bf16";
};

KernelSpec routerSpec(const RouterCase &c) {
  std::string biasType = c.bias ? llvm::formatv(", tensor<{0}xf32>", c.experts).str() : "";
  std::string bias = c.bias ? llvm::formatv(", %b: tensor<{0}xf32>", c.experts).str() : "";
  return specOf(llvm::formatv(R"(cmd.kernel @router router over rows {
    ^bb0(%x: tensor<?x{0}x{1}>, %w: tensor<{2}x{0}x{1}>{3}):
      %ids, %g = moe.route %x, %w {4} {{router = #moe.router<{5}, {6}, groups = {7}, keep = {8}, top = {9},
          normalise = {10}, scale = {11:f6} : f32>}
        : (tensor<?x{0}x{1}>, tensor<{2}x{0}x{1}>{12}) -> (tensor<?x{9}xi32>, tensor<?x{9}xf32>)
      lm.yield %ids, %g : tensor<?x{9}xi32>, tensor<?x{9}xf32>
    })",
                              c.hidden, c.type, c.experts, bias, c.bias ? "bias %b" : "", c.scoring, c.method, c.groups,
                              c.keep, c.top, c.normalise ? "true" : "false", c.scale, biasType)
                    .str());
}

Bytes floats(const std::vector<float> &values, bool narrow) {
  if (!narrow)
    return bytesOf(values);
  std::vector<uint16_t> halves;
  for (float x : values) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    halves.push_back(uint16_t(bits >> 16));
  }
  return bytesOf(halves);
}

/// Operands for `rows` live rows and `more` rows of NaN. `ties`: experts come in equal pairs.
std::vector<Bytes> operandsOf(const RouterCase &c, size_t rows, size_t more, bool ties) {
  Random random(rows + c.experts);
  bool narrow = std::string(c.type) == "bf16";
  size_t bytes = narrow ? 2 : 4, pitch = (c.hidden * bytes + 63) / 64 * 64 / bytes;
  std::vector<float> x = random.normals(rows * c.hidden), w = random.normals(c.experts * pitch, 0.2f),
                     bias = random.normals(c.experts, 0.1f);
  x.resize((rows + more) * c.hidden, NAN);
  for (size_t e = 1; ties && e < c.experts; e += 2) {
    std::copy_n(&w[(e - 1) * pitch], pitch, &w[e * pitch]);
    bias[e] = bias[e - 1];
  }
  std::vector<Bytes> operands = {floats(x, narrow), floats(w, narrow)};
  if (c.bias)
    operands.push_back(bytesOf(bias));
  operands.insert(operands.end(), {unwritten((rows + more) * c.top * 4), unwritten((rows + more) * c.top * 4)});
  return operands;
}
} // namespace

TEST(GpuRouter, EqualsTheCpu) {
  const RouterCase cases[] = {
      {"sigmoid", "noaux_tc", 16, 96, 4, 2, 4, true, true, 2.5},
      {"sigmoid", "noaux_tc", 256, 256, 8, 4, 8, true, true, 2.5},
      {"sigmoid", "noaux_tc", 384, 130, 1, 1, 8, true, true, 2.827},
      {"softmax", "greedy", 64, 200, 1, 1, 6, false, false, 1.0},
      {"softmax", "group_limited_greedy", 160, 1100, 8, 3, 6, false, false, 16.0, "f32"},
      {"softmax", "greedy", 5, 7, 1, 1, 5, false, true, 1.0, "f32"},
  };
  for (const RouterCase &c : cases) {
    BothDevices both(routerSpec(c));
    for (size_t rows : {0, 1, 5, 18})
      for (bool ties : {false, true}) {
        SCOPED_TRACE(llvm::formatv("{0} {1}: {2} rows{3}", c.method, c.experts, rows, ties ? ", ties" : "").str());
        SymbolValues symbols = symbolsOf(rows);
        symbols[0] = rows + 3;
        EXPECT_EQ(0u, both.run(operandsOf(c, rows, 3, ties), symbols, 2, 3));
      }
  }
}

TEST(GpuRouter, MoreGroupsThanCountersGiveTheSameBits) {
  RouterCase c{"sigmoid", "noaux_tc", 8, 16, 2, 1, 2, true, true, 2.5};
  BothDevices both(routerSpec(c));
  for (size_t rows : {1024, 1025, 1100})
    EXPECT_EQ(0u, both.run(operandsOf(c, rows, 0, false), symbolsOf(rows)));
  // The host counts more rows than there are counters, the device fewer.
  SymbolValues symbols = symbolsOf(1000);
  symbols[0] = 1100;
  EXPECT_EQ(0u, both.run(operandsOf(c, 1000, 100, false), symbols, 0, 100));
}

TEST(GpuRouter, NotFiniteLogitsAreAFault) {
  RouterCase c{"sigmoid", "noaux_tc", 16, 96, 4, 2, 4, true, true, 2.5};
  BothDevices both(routerSpec(c));
  std::vector<Bytes> operands = operandsOf(c, 6, 0, false);
  uint16_t infinity = 0x7F80;
  std::memcpy(&operands[0][(5 * 96 + 7) * 2], &infinity, 2);
  EXPECT_EQ(12u, both.run(operands, symbolsOf(6), 11));
}

TEST(GpuRouter, TooManyExpertsForSharedMemoryAreRefused) {
  RouterCase c{"softmax", "greedy", 4096, 64, 1, 1, 2, false, false, 1.0};
  auto compiled = compileGpuKernels({routerSpec(c)}, *findGpuTarget("cuda:sm_80"), CompileOptions());
  ASSERT_FALSE(bool(compiled));
  std::string message = llvm::toString(compiled.takeError());
  EXPECT_NE(std::string::npos, message.find("E3107")) << message;
}
