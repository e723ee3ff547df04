// Size expressions and the packing of buffers.
#include "runtime/exec/memory_plan.h"
#include "runtime/schema/size_expr.h"
#include <gtest/gtest.h>
#include <random>
#include <vector>

using namespace moray::schema;
using namespace moray::rt;

TEST(SizeExpr, Evaluates) {
  // align(ceildiv(T + 3, 4) * min(B, 7), 64)
  const ExprOp ops[] = {{ExprOpKind::Symbol, 0}, {ExprOpKind::Const, 3},   {ExprOpKind::Add, 0},
                        {ExprOpKind::Const, 4},  {ExprOpKind::CeilDiv, 0}, {ExprOpKind::Symbol, 1},
                        {ExprOpKind::Const, 7},  {ExprOpKind::Min, 0},     {ExprOpKind::Mul, 0},
                        {ExprOpKind::Const, 64}, {ExprOpKind::Align, 0}};
  uint64_t symbols[kSymbolCount] = {30, 9};
  uint64_t result = 0;
  ASSERT_EQ(evaluateExpr(ops, std::size(ops), symbols, result), ExprError::None);
  EXPECT_EQ(result, 64u); // ceildiv(33, 4) = 9, * 7 = 63
  symbols[0] = 34;
  ASSERT_EQ(evaluateExpr(ops, std::size(ops), symbols, result), ExprError::None);
  EXPECT_EQ(result, 128u);
}

TEST(SizeExpr, ErrorsLeaveTheResult) {
  const uint64_t symbols[kSymbolCount] = {};
  const ExprOp ops[] = {{ExprOpKind::Const, 1}, {ExprOpKind::Symbol, 0}, {ExprOpKind::CeilDiv, 0}};
  uint64_t result = 77;
  EXPECT_EQ(evaluateExpr(ops, std::size(ops), symbols, result), ExprError::DivisionByZero);
  EXPECT_EQ(result, 77u);
  for (int error = 0; error <= static_cast<int>(ExprError::Leftover); ++error)
    EXPECT_STRNE(describe(static_cast<ExprError>(error)), "unknown error");
}

TEST(MemoryPlan, DisjointLifetimesShareMemory) {
  std::vector<PlannedBuffer> buffers = {{100, 0, 1, 0}, {50, 1, 2, 0}, {100, 2, 3, 0}, {0, 0, 3, 0}};
  uint64_t total = 0;
  ASSERT_TRUE(packBuffers({buffers.data(), buffers.size()}, kBufferAlign, total));
  EXPECT_EQ(buffers[0].offset, buffers[2].offset);
  EXPECT_EQ(total, 128u + 64u);
}

TEST(MemoryPlan, RefusesSizesBeyond64Bits) {
  std::vector<PlannedBuffer> buffers(3, {UINT64_MAX / 2, 0, 0, 0});
  uint64_t total = 0;
  EXPECT_FALSE(packBuffers({buffers.data(), buffers.size()}, kBufferAlign, total));
}

TEST(MemoryPlan, RandomBuffersNeverOverlap) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<PlannedBuffer> buffers;
    uint64_t sum = 0;
    for (int i = 0; i < 40; ++i) {
      const auto first = static_cast<uint32_t>(random() % 30);
      buffers.push_back({random() % 1000, first, first + static_cast<uint32_t>(random() % 6), 0});
      sum += alignUp(buffers.back().bytes, kBufferAlign);
    }
    uint64_t total = 0;
    ASSERT_TRUE(packBuffers({buffers.data(), buffers.size()}, kBufferAlign, total));
    EXPECT_LE(total, sum);
    for (const PlannedBuffer &a : buffers) {
      EXPECT_EQ(a.offset % kBufferAlign, 0u);
      EXPECT_LE(a.offset + a.bytes, total);
      for (const PlannedBuffer &b : buffers)
        if (&a != &b && a.first <= b.last && b.first <= a.last)
          EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset);
    }
  }
}
