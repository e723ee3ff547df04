//===- control_test.cpp - Divergence, calls and recursion ------------------===//
//
// The same algorithms on the host, one thread after the other.
//
//===----------------------------------------------------------------------===//
#include "gpu.h"

#include <gtest/gtest.h>

#include <numeric>

using namespace gpu_test;

namespace {

constexpr int kCount = 250; // a ragged last warp

std::vector<int> smallIntegers(int count, int low, int high, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int> values;
  for (int i = 0; i < count; ++i)
    values.push_back(low + int(random() % uint32_t(high - low + 1)));
  return values;
}

TEST(NvccControl, NestedIfs) {
  std::vector<int> a = smallIntegers(kCount, -64, 200, 1), before = smallIntegers(kCount, 0, 99, 2);
  Launch launch("control", "nested_ifs", 4, 64);
  launch.in(a).in(before).value(kCount).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) {
    int x = a[i], old = before[i], expected;
    switch (x & 3) {
    case 3:
      expected = x & 4 ? 1 : old + 2;
      break;
    case 1:
      expected = x > 100 ? 3 + old : 4;
      break;
    default:
      expected = !(x & 8) ? -x : (x & 48) == 48 ? 5 + 2 * old : 5;
    }
    ASSERT_EQ(out[i], expected) << x;
  }
}

uint32_t brokenLoop(uint32_t x) {
  uint32_t sum = 0;
  for (uint32_t k = 0; k < x % 64; ++k) {
    if ((x >> k % 32 & 3) == 3)
      continue;
    sum = sum * 3 + k;
    if (sum % 256 == 77)
      return sum;
    uint32_t j = k;
    for (; j < 40 && j != 13; j += x % 8 + 1)
      sum ^= j << j % 16;
    if (j != 13)
      sum += 5;
  }
  return sum;
}

uint32_t switched(uint32_t x) {
  auto last = [x](uint32_t r) { return 2 * r + x % 13; };
  switch (x % 11) {
  case 0:
    return 3 * x;
  case 1:
    return x ^ 0x5555;
  case 2:
    return (x >> 3) + 17;
  case 3:
    return 17;
  case 4: {
    uint32_t n = x % 16;
    return n ? (n - 1) * n * (2 * n - 1) / 6 : 0;
  }
  case 5:
    return uint32_t(__builtin_popcount(x));
  case 6:
    return x / 7;
  case 7:
    return ~x;
  case 9:
    return last(1);
  default:
    return last(0);
  }
}

uint32_t collatzSteps(uint32_t start) {
  uint32_t steps = 0;
  for (uint64_t x = start; x > 1; ++steps)
    x = x % 2 ? 3 * x + 1 : x / 2;
  return steps;
}

void expectMap(const char *kernel, const std::vector<uint32_t> &a, uint32_t (*expected)(uint32_t)) {
  Launch launch("control", kernel, 4, 64);
  launch.in(a).out<uint32_t>(a.size()).value(int(a.size())).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(1);
  ASSERT_EQ(out.size(), a.size()) << kernel;
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(out[i], expected(a[i])) << kernel << " of " << a[i];
}

TEST(NvccControl, LoopsSwitchesAndTables) {
  std::vector<uint32_t> any = randomIntegers<uint32_t>(kCount, 3), dense(kCount);
  std::iota(dense.begin(), dense.end(), 0u);
  expectMap("loop_break_continue", any, brokenLoop);
  expectMap("switches", any, switched);
  expectMap("switches", dense, switched);
  expectMap("branch_table", any, [](uint32_t x) { return 10 + 11 * (x & 3); });
  expectMap("collatz", dense, collatzSteps);
}

TEST(NvccControl, EarlyReturn) {
  std::vector<int> a = smallIntegers(kCount, -5, 60, 4);
  Launch launch("control", "early_return", 4, 64);
  launch.in(a).out<int>(kCount).value(kCount).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) {
    int last = -2; // the largest k below a whose square is at most a
    for (int k = 0; k < a[i] && k * k <= a[i]; ++k)
      last = k;
    ASSERT_EQ(out[i], a[i] < 0 ? -1 : last) << a[i];
  }
}

TEST(NvccControl, SpinningLanesTakeTurns) {
  Launch launch("control", "lanes_take_turns", 1, 32);
  launch.in(std::vector<uint32_t>(1)).in(std::vector<uint32_t>(33)).run();
  std::vector<uint32_t> order = launch.result<uint32_t>(1);
  ASSERT_EQ(order.size(), size_t(33));
  EXPECT_EQ(order[0], 32u);
  std::sort(order.begin() + 1, order.end());
  for (uint32_t lane = 0; lane < 32; ++lane)
    EXPECT_EQ(order[1 + lane], lane);
}

struct Vector {
  float x, y, z;
  int tag;
};
struct Params {
  int n;
  float scale;
  int64_t offset;
  unsigned char flags[5];
  short step;
  Vector v;
};

TEST(NvccControl, StructParameter) {
  std::vector<float> a;
  for (int i = 0; i < kCount; ++i)
    a.push_back(float(i) * 0.37f - 5);
  Params p = {kCount, 1.3f, -1234567, {1, 200, 3, 40, 5}, -7, {1, 2.5f, 3, 4}};
  Launch launch("control", "struct_param", 4, 64);
  launch.in(a).out<float>(kCount).value(p).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) {
    volatile float product = a[i] * p.scale;
    volatile float shifted = product + float(p.offset);
    volatile float flagged = shifted + float(p.flags[i % 5] * p.step);
    ASSERT_EQ(out[i], flagged + p.v.y * float(p.v.tag)) << i;
  }
}

TEST(NvccControl, CallsWithStructs) {
  std::vector<Vector> a, b;
  for (int i = 0; i < kCount; ++i) {
    a.push_back({float(i % 7), float(i % 11) - 3, float(i % 5), i});
    b.push_back({float(i % 3) + 1, float(i % 13), -float(i % 4), 1000});
  }
  Launch launch("control", "call_with_structs", 4, 64);
  launch.in(a).in(b).out<Vector>(kCount).value(kCount).run();
  std::vector<Vector> out = launch.result<Vector>(2);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) { // small integers: exact
    EXPECT_EQ(out[i].x, a[i].y * b[i].z - a[i].z * b[i].y);
    EXPECT_EQ(out[i].y, a[i].z * b[i].x - a[i].x * b[i].z);
    EXPECT_EQ(out[i].z, a[i].x * b[i].y - a[i].y * b[i].x);
    EXPECT_EQ(out[i].tag, i + 1000);
  }
}

TEST(NvccControl, Recursion) {
  constexpr uint32_t fibonacci[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55};
  Launch launch("control", "recursion", 1, 64);
  launch.out<uint32_t>(64).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(0);
  ASSERT_EQ(out.size(), size_t(64));
  for (uint32_t t = 0; t < 64; ++t) {
    uint32_t m = t % 3, n = t % 4;
    uint32_t ackermann = m == 0 ? n + 1 : m == 1 ? n + 2 : 2 * n + 3;
    EXPECT_EQ(out[t], fibonacci[t % 11] * 1000 + ackermann) << t;
  }
}

TEST(NvccControl, LocalArrays) {
  std::vector<int> a = smallIntegers(4 * kCount, 0, 1000, 5);
  Launch launch("control", "local_arrays", 4, 64);
  launch.in(a).out<int>(2 * kCount).value(kCount).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(2 * kCount));
  for (int i = 0; i < kCount; ++i) {
    std::vector<int> values(a.begin() + 4 * i, a.begin() + 4 * i + 4), histogram(8);
    std::sort(values.begin(), values.end());
    for (int k = 0; k < 16; ++k)
      ++histogram[values[k % 4] * (k + 1) % 8];
    int sum = 0;
    for (int k = 0; k < 8; ++k)
      sum = sum * 7 + histogram[(k + a[4 * i + 1]) % 8];
    ASSERT_EQ(out[2 * i], values[a[4 * i] % 4]);
    ASSERT_EQ(out[2 * i + 1], sum);
  }
}

TEST(NvccControl, DivergentCalls) {
  std::vector<int> a = smallIntegers(kCount, 0, 500, 6), b = smallIntegers(kCount, -500, 500, 7);
  Launch launch("control", "divergent_calls", 4, 64);
  launch.in(a).in(b).out<int>(kCount).value(kCount).run();
  std::vector<int> out = launch.result<int>(2);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i)
    ASSERT_EQ(out[i], a[i] % 3 == 0 ? a[i] + b[i] : a[i] % 3 == 1 ? a[i] * (b[i] - 2) : a[i] - b[i]);
}

} // namespace
