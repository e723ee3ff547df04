//===- warp_test.cpp - Shuffles, votes, match, redux, atomics --------------===//
//
// Cross-lane results from the lanes' values on the host; atomics by their sums, or by what every order of them shares.
//
//===----------------------------------------------------------------------===//
#include "gpu.h"

#include <gtest/gtest.h>

#include <numeric>

using namespace gpu_test;

namespace {

using Lanes = std::vector<uint32_t>;

Lanes runWarp(const char *kernel, const Lanes &a, size_t operations) {
  Launch launch("warp", kernel, 1, 32);
  launch.in(a).out<uint32_t>(operations * 32).run();
  Lanes out = launch.result<uint32_t>(1);
  EXPECT_EQ(out.size(), operations * 32) << kernel;
  out.resize(operations * 32);
  return out;
}

/// Where lane t of a segment of `width` lanes reads; itself if the source is outside.
int upFrom(int t, int distance, int width) { return t % width >= distance ? t - distance : t; }
int downFrom(int t, int distance, int width) { return t % width + distance < width ? t + distance : t; }

TEST(NvccWarp, Shuffles) {
  Lanes a = randomIntegers<uint32_t>(32, 1);
  Lanes out = runWarp("shuffles", a, 11);
  for (int t = 0; t < 32; ++t) {
    int x = int(a[size_t(t)] & 31);
    const int sources[] = {5,
                           x,
                           t / 8 * 8 + (x & 7),
                           upFrom(t, 3, 32),
                           upFrom(t, 1, 4),
                           downFrom(t, 7, 32),
                           downFrom(t, 2, 16),
                           t ^ 21,
                           t ^ 3,
                           t ^ 1,
                           downFrom(t, 1, 32)};
    for (int op = 0; op < 11; ++op)
      EXPECT_EQ(out[size_t(op * 32 + t)], a[size_t(sources[op])]) << "shuffle " << op << " lane " << t;
  }
}

TEST(NvccWarp, ShufflePredicates) {
  Lanes a = randomIntegers<uint32_t>(32, 2);
  Lanes out = runWarp("shuffle_predicates", a, 12);
  for (int t = 0; t < 32; ++t) {
    // idx takes the lane number modulo the segment of eight; c = 0x181f and 0x101f are segments of 8 and 16 lanes.
    const std::pair<int, bool> expected[] = {
        {t - 4, t >= 4},     {t + 4, t < 28}, {t ^ 9, true}, {8, true}, {t / 8 * 8 + (t + 3) % 8, true},
        {t + 3, t % 16 < 13}};
    for (int op = 0; op < 6; ++op) {
      auto [source, inRange] = expected[op];
      EXPECT_EQ(out[size_t(2 * op * 32 + t)], a[size_t(inRange ? source : t)]) << op << " lane " << t;
      EXPECT_EQ(out[size_t((2 * op + 1) * 32 + t)], uint32_t(inRange)) << op << " lane " << t;
    }
  }
}

TEST(NvccWarp, ShufflesOfSubsets) {
  Lanes a = randomIntegers<uint32_t>(32, 3);
  Lanes out = runWarp("shuffle_subsets", a, 1);
  for (uint32_t t = 0; t < 32; ++t)
    EXPECT_EQ(out[t], t & 1 ? a[t ^ 2] : t < 16 ? a[14] : a[t] + 1);
}

template <typename Predicate> uint32_t ballot(Predicate predicate) {
  uint32_t mask = 0;
  for (uint32_t t = 0; t < 32; ++t)
    mask |= uint32_t(bool(predicate(t))) << t;
  return mask;
}

TEST(NvccWarp, Votes) {
  for (bool uniform : {false, true}) {
    Lanes a(32, 400);
    for (uint32_t t = 0; t < 32 && !uniform; ++t)
      a[t] = t * 523 % 1009;
    Lanes out = runWarp("votes", a, 7);
    uint32_t below = ballot([&](uint32_t t) { return a[t] < 500; });
    uint32_t second = ballot([&](uint32_t t) { return a[t] & 2; }) & 0x00ffff00;
    uint32_t third = ballot([&](uint32_t t) { return a[t] & 4; }) & 0x00ffff00;
    for (uint32_t t = 0; t < 32; ++t) {
      bool inside = t >= 8 && t < 24;
      const uint32_t expected[] = {ballot([&](uint32_t u) { return a[u] & 1; }),
                                   ballot([&](uint32_t u) { return a[u] > 0; }) == ~0u,
                                   ballot([&](uint32_t u) { return a[u] == 1000; }) != 0,
                                   below == 0 || below == ~0u,
                                   inside ? second : 7,
                                   inside ? uint32_t(third != 0) : 8,
                                   ballot([&](uint32_t u) { return a[u] <= 100; })};
      for (uint32_t op = 0; op < 7; ++op)
        EXPECT_EQ(out[op * 32 + t], expected[op]) << "vote " << op << " lane " << t;
    }
  }
}

TEST(NvccWarp, Matches) {
  Lanes a = randomIntegers<uint32_t>(32, 4);
  std::vector<uint64_t> b = randomIntegers<uint64_t>(32, 5);
  Launch launch("warp", "matches", 1, 32);
  launch.in(a).in(b).out<uint32_t>(7 * 32).run();
  Lanes out = launch.result<uint32_t>(2);
  ASSERT_EQ(out.size(), size_t(7 * 32));
  for (uint32_t t = 0; t < 32; ++t) {
    const uint32_t expected[] = {ballot([&](uint32_t u) { return a[u] % 5 == a[t] % 5; }),
                                 ballot([&](uint32_t u) { return b[u] % 3 == b[t] % 3; }),
                                 0,
                                 0,
                                 ~0u,
                                 1,
                                 t < 20 ? ballot([&](uint32_t u) { return (a[u] & 3) == (a[t] & 3); }) & 0xfffff : t};
    for (uint32_t op = 0; op < 7; ++op)
      EXPECT_EQ(out[op * 32 + t], expected[op]) << "match " << op << " lane " << t;
  }
}

TEST(NvccWarp, Reductions) {
  Lanes a = randomIntegers<uint32_t>(32, 6);
  std::vector<int32_t> s(a.begin(), a.end());
  Lanes out = runWarp("reductions", a, 9);
  uint32_t all = ~0u, any = 0, parity = 0;
  for (uint32_t x : a) {
    all &= x | 0xf0f0f0f0;
    any |= x & 0x0f0f0f0f;
    parity ^= x;
  }
  for (uint32_t t = 0; t < 32; ++t) {
    auto begin = a.begin() + (t < 12 ? 0 : 12), end = t < 12 ? a.begin() + 12 : a.end();
    const uint32_t expected[] = {std::accumulate(a.begin(), a.end(), 0u),
                                 *std::min_element(a.begin(), a.end()),
                                 *std::max_element(a.begin(), a.end()),
                                 uint32_t(*std::min_element(s.begin(), s.end())),
                                 uint32_t(*std::max_element(s.begin(), s.end())),
                                 all,
                                 any,
                                 parity,
                                 std::accumulate(begin, end, 0u)};
    for (uint32_t op = 0; op < 9; ++op)
      EXPECT_EQ(out[op * 32 + t], expected[op]) << "reduction " << op << " lane " << t;
  }
}

TEST(NvccWarp, ActiveMasks) {
  Launch launch("warp", "active_masks", 1, 32);
  launch.out<uint32_t>(64).run();
  Lanes out = launch.result<uint32_t>(0);
  ASSERT_EQ(out.size(), size_t(64));
  uint32_t branch = ballot([](uint32_t t) { return t % 3 == 1; });
  for (uint32_t t = 0; t < 32; ++t) {
    EXPECT_NE(out[2 * t] & 1u << t, 0u);
    if (t % 3 != 1)
      continue;
    EXPECT_NE(out[2 * t + 1] & 1u << t, 0u);
    EXPECT_EQ(out[2 * t + 1] & ~branch, 0u);
  }
}

TEST(NvccWarp, SumsOfWarps) {
  std::vector<float> a(150);
  std::iota(a.begin(), a.end(), 1.0f);
  Launch launch("warp", "warp_sums", 2, 96);
  launch.in(a).out<float>(150).value(150).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), a.size());
  for (size_t i = 0; i < a.size(); ++i) // small integers: exact in any order
    EXPECT_EQ(out[i], std::accumulate(a.begin() + long(i / 32 * 32),
                                      a.begin() + std::min<long>(long(i / 32 * 32 + 32), 150), 0.0f));
}

//===----------------------------------------------------------------------===//
// Atomics
//===----------------------------------------------------------------------===//

constexpr int kThreads = 192;

TEST(NvccAtomics, U32OnGlobal) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(kThreads, 7);
  std::vector<uint32_t> cells = {10, 20, ~0u, 0, INT32_MAX, uint32_t(INT32_MIN), ~0u, 0, 0x1234, 3, 5, 0, 0, 0, 0};
  Launch launch("atomics", "atomic_u32", 4, 64);
  launch.in(cells).in(a).value(kThreads).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(0);
  ASSERT_EQ(out.size(), cells.size());
  std::vector<uint32_t> expected = cells;
  for (uint32_t x : a) {
    expected[0] += x;
    expected[1] -= x;
    expected[2] = std::min(expected[2], x);
    expected[3] = std::max(expected[3], x);
    expected[4] = uint32_t(std::min(int32_t(expected[4]), int32_t(x)));
    expected[5] = uint32_t(std::max(int32_t(expected[5]), int32_t(x)));
    expected[6] &= x | 0xff00ff00;
    expected[7] |= x & 0x00ff00ff;
    expected[8] ^= x;
    expected[9] = expected[9] >= 17 ? 0 : expected[9] + 1;
    expected[10] = expected[10] == 0 || expected[10] > 17 ? 17 : expected[10] - 1;
  }
  for (int k = 0; k < 11; ++k)
    EXPECT_EQ(out[size_t(k)], expected[size_t(k)]) << "cell " << k;
  for (uint32_t k = 0; k < 4; ++k) // one of those who wrote here
    EXPECT_TRUE(std::any_of(a.begin(), a.end(), [&](uint32_t x) { return (x & 3) == k && (x | 3) == out[11 + k]; }))
        << k;
}

TEST(NvccAtomics, ResultsAreTheOldValues) {
  Launch launch("atomics", "atomic_results", 3, 64);
  launch.in(std::vector<uint32_t>{100, 0}).out<uint32_t>(kThreads).out<uint32_t>(kThreads).run();
  std::vector<uint32_t> old = launch.result<uint32_t>(1), wrapped = launch.result<uint32_t>(2);
  ASSERT_EQ(wrapped.size(), size_t(kThreads));
  std::sort(old.begin(), old.end());
  std::vector<int> seen(10);
  for (int i = 0; i < kThreads; ++i) {
    EXPECT_EQ(old[size_t(i)], uint32_t(100 + 3 * i));
    ASSERT_LT(wrapped[size_t(i)], 10u);
    ++seen[wrapped[size_t(i)]];
  }
  for (int k = 0; k < 10; ++k)
    EXPECT_EQ(seen[size_t(k)], kThreads / 10 + (k < kThreads % 10));
}

TEST(NvccAtomics, U64OnGlobal) {
  std::vector<uint64_t> a = randomIntegers<uint64_t>(kThreads, 8);
  std::vector<uint64_t> expected = {1, ~0ull, 0, uint64_t(INT64_MAX), uint64_t(INT64_MIN), ~0ull, 0, 7};
  Launch launch("atomics", "atomic_u64", 3, 64);
  launch.in(expected).in(a).run();
  for (uint64_t x : a) {
    expected[0] += x;
    expected[1] = std::min(expected[1], x);
    expected[2] = std::max(expected[2], x);
    expected[3] = uint64_t(std::min(int64_t(expected[3]), int64_t(x)));
    expected[4] = uint64_t(std::max(int64_t(expected[4]), int64_t(x)));
    expected[5] &= x | 0xff00ff00ff00ff00;
    expected[6] |= x & 0x00ff00ff00ff00ff;
    expected[7] ^= x;
  }
  EXPECT_EQ(launch.result<uint64_t>(0), expected);
}

TEST(NvccAtomics, FloatsWithExactSums) {
  Launch launch("atomics", "atomic_floats", 2, 64);
  launch.in(std::vector<float>(1))
      .in(std::vector<double>(1))
      .in(std::vector<uint32_t>(1))
      .in(std::vector<uint16_t>(1))
      .run();
  EXPECT_EQ(launch.result<float>(0), std::vector<float>(1, 128 * 1.75f));
  EXPECT_EQ(launch.result<double>(1), std::vector<double>(1, 0.25 * 127 * 64));
  EXPECT_EQ(launch.result<uint32_t>(2), std::vector<uint32_t>(1, 0x58005c00)); // 128 and 256 in f16
  EXPECT_EQ(launch.result<uint16_t>(3), std::vector<uint16_t>(1, 0x5400));     // 64
}

TEST(NvccAtomics, SharedHistogram) {
  std::vector<uint8_t> a;
  for (int i = 0; i < 1000; ++i)
    a.push_back(uint8_t(i * i + i / 3));
  Launch launch("atomics", "shared_histogram", 1, 96);
  launch.in(a).out<uint32_t>(64).value(1000).run();
  std::vector<uint32_t> expected(64);
  for (uint8_t x : a)
    ++expected[x % 64];
  EXPECT_EQ(launch.result<uint32_t>(1), expected);
}

TEST(NvccAtomics, AllKindsOnShared) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(64, 9);
  Launch launch("atomics", "shared_atomics", 1, 64);
  launch.in(a).out<uint64_t>(9).run();
  std::vector<uint64_t> expected = {0, ~0u, 0, 0, ~0u, 1000, 0, 1, 0};
  for (size_t t = 0; t < 64; ++t) {
    uint32_t x = a[t];
    expected[0] = uint32_t(expected[0] + x);
    expected[1] = std::min<uint64_t>(expected[1], x);
    expected[2] = uint32_t(std::max(int32_t(expected[2]), int32_t(x)));
    expected[3] |= x;
    expected[4] &= x;
    expected[6] += uint64_t(x) << 8;
    expected[7] ^= uint64_t(x) << 20;
    expected[8] += t & 3;
  }
  EXPECT_EQ(launch.result<uint64_t>(1), expected);
}

TEST(NvccAtomics, CompareAndSwapLoops) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(kThreads, 10);
  Launch launch("atomics", "cas_loops", 3, 64);
  launch.in(std::vector<uint32_t>(1, 1)).in(std::vector<uint64_t>(1)).in(a).run();
  uint32_t product = 1;
  uint64_t maximum = 0;
  for (uint32_t x : a) {
    product *= x | 1;
    maximum = std::max(maximum, uint64_t(x | 1) * (x | 1));
  }
  EXPECT_EQ(launch.result<uint32_t>(0), std::vector<uint32_t>(1, product));
  EXPECT_EQ(launch.result<uint64_t>(1), std::vector<uint64_t>(1, maximum));

  Launch narrow("atomics", "cas_narrow", 2, 32);
  narrow.in(std::vector<uint16_t>(2, 1000)).value(3).run();
  EXPECT_EQ(narrow.result<uint16_t>(0), (std::vector<uint16_t>{1000 + 64 * 3, 1000}));
}

TEST(NvccAtomics, ScopesOrdersAndFences) {
  Launch launch("atomics", "scopes_and_orders", 4, 40);
  std::vector<uint32_t> cells(13);
  cells[12] = 77;
  launch.in(cells).out<uint32_t>(160).run();
  std::vector<uint32_t> expected = {320, 40, 40, 40, 40, 0, 0, 0, 160, ~0u, 159, 159 * 80, 77};
  EXPECT_EQ(launch.result<uint32_t>(0), expected);
  std::vector<uint32_t> out = launch.result<uint32_t>(1);
  for (uint32_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], 77 + i);
}

TEST(NvccAtomics, LastBlockSumsUp) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(16 * 32, 11);
  Launch launch("atomics", "last_block", 16, 32);
  launch.in(a).out<uint32_t>(16).in(std::vector<uint32_t>(1)).out<uint32_t>(1).run();
  EXPECT_EQ(launch.result<uint32_t>(3), std::vector<uint32_t>(1, std::accumulate(a.begin(), a.end(), 0u)));
}

} // namespace
