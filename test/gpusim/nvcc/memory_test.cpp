//===- memory_test.cpp - State spaces, addressing, shared memory, copies ---===//
//
// Data movement bit by bit: constants and globals, vectors, shared memory with its barriers, cp.async.
//
//===----------------------------------------------------------------------===//
#include "gpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

using namespace gpu_test;

namespace {

std::vector<uint8_t> randomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t &byte : bytes)
    byte = uint8_t(random());
  return bytes;
}

TEST(NvccMemory, Constants) {
  constexpr int count = 100;
  const float coefficients[] = {1.0f, -0.5f, 0.25f, 3.0f, 0.125f};
  const int table[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
  std::vector<float> x;
  for (int i = 0; i < count; ++i)
    x.push_back(float(i) / 8 - 3);
  Launch launch("memory", "constants", 4, 32);
  launch.in(x).out<float>(count).value(count).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), size_t(count));
  for (int i = 0; i < count; ++i) {
    volatile float r = 0;
    for (int k = 4; k >= 0; --k) {
      volatile float product = r * x[i];
      r = product + coefficients[k];
    }
    volatile float sum = r + float(table[i % 16]);
    ASSERT_EQ(out[i], sum + coefficients[i % 5]);
  }
}

TEST(NvccMemory, GlobalsKeepTheirValuesBetweenLaunches) {
  int64_t before = 0;
  for (int add : {5, 11}) {
    Launch write("memory", "globals_write", 1, 8);
    ASSERT_TRUE(write.value(add).run());
    Launch read("memory", "globals_read", 1, 13);
    read.out<int64_t>(13).run();
    std::vector<int64_t> out = read.result<int64_t>(0);
    ASSERT_EQ(out.size(), size_t(13));
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(out[i], i * 3 + add);
    EXPECT_EQ(out[8], -7);
    EXPECT_EQ(out[9], 0x123456789abcdef);
    if (before) {
      EXPECT_EQ(out[10], before + add);
    }
    before = out[10];
    EXPECT_EQ(out[11], -3); // through an initialised pointer
    EXPECT_EQ(out[12], 2);
  }
}

TEST(NvccMemory, Vectors) {
  std::vector<uint8_t> in = randomBytes(1664, 1);
  Launch launch("memory", "vector_accesses", 1, 32);
  launch.in(in).out<uint8_t>(1664).run();
  std::vector<uint8_t> out = launch.result<uint8_t>(1);
  ASSERT_EQ(out.size(), in.size());
  struct Part {
    size_t offset, size; // of the elements
    std::vector<int> order;
  };
  const Part parts[] = {
      {0, 1, {3, 2, 1, 0}}, {128, 2, {1, 0, 3, 2}}, {384, 4, {1, 0}}, {640, 4, {3, 0, 1, 2}}, {1152, 8, {1, 0}}};
  for (const Part &part : parts)
    for (size_t t = 0; t < 32; ++t)
      for (size_t e = 0; e < part.order.size(); ++e) {
        size_t base = part.offset + t * part.size * part.order.size();
        EXPECT_EQ(0, std::memcmp(&out[base + e * part.size], &in[base + size_t(part.order[e]) * part.size], part.size))
            << part.offset << " " << t << " " << e;
      }
}

TEST(NvccMemory, NarrowAccesses) {
  std::vector<uint8_t> a = randomBytes(64, 2);
  std::vector<uint16_t> b = randomIntegers<uint16_t>(64, 3);
  Launch launch("memory", "narrow_accesses", 1, 64);
  launch.in(a).in(b).out<int32_t>(64).out<int16_t>(64).run();
  std::vector<int32_t> out = launch.result<int32_t>(2);
  std::vector<int16_t> narrow = launch.result<int16_t>(3);
  ASSERT_EQ(narrow.size(), size_t(64));
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(out[i], int8_t(a[i]) * 3 + b[i]);
    EXPECT_EQ(narrow[i], int16_t(int8_t(a[i]) - b[i]));
  }
}

TEST(NvccMemory, ReadOnlyAndCacheHints) {
  std::vector<float> a(4 * 32);
  std::iota(a.begin(), a.end(), 1.0f);
  std::vector<int> order;
  for (int i = 0; i < 32; ++i)
    order.push_back(i * 13 % 32);
  Launch readOnly("memory", "read_only", 1, 32);
  readOnly.in(a).in(order).out<float>(32).run();
  std::vector<float> sums = readOnly.result<float>(2);
  ASSERT_EQ(sums.size(), size_t(32));
  for (int i = 0; i < 32; ++i) {
    const float *v = &a[size_t(4 * order[i])];
    EXPECT_EQ(sums[i], v[0] + 2 * v[1] + 3 * v[2] + 4 * v[3] + float(order[i]));
  }
  std::vector<uint32_t> words = randomIntegers<uint32_t>(96, 4);
  Launch hints("memory", "cache_hints", 1, 32);
  hints.in(words).out<uint32_t>(32).run();
  std::vector<uint32_t> out = hints.result<uint32_t>(1);
  ASSERT_EQ(out.size(), size_t(32));
  for (size_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], words[i] + words[i + 1] * 3 + words[i + 2] * 5);
}

TEST(NvccMemory, GenericAddresses) {
  std::vector<int> a;
  for (int i = 0; i < 64; ++i)
    a.push_back(i * 7 % 50);
  Launch launch("memory", "generic_addresses", 1, 64);
  launch.in(a).out<int>(64).value(64).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(64));
  for (int i = 0; i < 64; ++i) {
    int expected = a[i] % 3 == 0   ? a[63 - i] * 2 + 1000
                   : a[i] % 3 == 1 ? a[i] + 2000
                                   : a[(i + (i & 3)) % 64] + (i & 3) + 4000;
    EXPECT_EQ(out[i], expected) << i;
  }
}

TEST(NvccMemory, GridsAndSpecialRegisters) {
  std::vector<float> a(1000);
  std::iota(a.begin(), a.end(), 0.0f);
  Launch stride("memory", "grid_stride", 3, 96);
  stride.in(a).out<float>(1000).value(1000).run();
  std::vector<float> doubled = stride.result<float>(1);
  ASSERT_EQ(doubled.size(), a.size());
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(doubled[i], 2 * a[i] + 1);

  Launch cube("memory", "three_dimensions", Shape(3, 2, 2), Shape(5, 4, 3));
  cube.out<uint32_t>(15 * 8 * 6).run();
  std::vector<uint32_t> places = cube.result<uint32_t>(0);
  ASSERT_EQ(places.size(), size_t(15 * 8 * 6));
  for (uint32_t i = 0; i < places.size(); ++i)
    EXPECT_EQ(places[i], i % 15 | i / 15 % 8 << 8 | i / 120 << 16 | 2 << 24);

  Launch registers("memory", "special_registers", 2, 48);
  registers.out<uint32_t>(96 * 8).run();
  std::vector<uint32_t> out = registers.result<uint32_t>(0);
  ASSERT_EQ(out.size(), size_t(96 * 8));
  for (uint32_t i = 0; i < 96; ++i) {
    uint32_t lane = i % 48 % 32, eq = 1u << lane;
    const uint32_t expected[] = {lane, eq - 1, eq - 1 + eq, eq, ~(eq - 1), ~(eq - 1) & ~eq, 32, 2048};
    for (int k = 0; k < 8; ++k)
      EXPECT_EQ(out[8 * i + k], expected[k]) << i << " register " << k;
  }
}

TEST(NvccMemory, PackedMoves) {
  std::vector<uint64_t> a = randomIntegers<uint64_t>(32, 5);
  Launch launch("memory", "packed_moves", 1, 32);
  launch.in(a).out<uint64_t>(96).run();
  std::vector<uint64_t> out = launch.result<uint64_t>(1);
  ASSERT_EQ(out.size(), size_t(96));
  for (size_t i = 0; i < 32; ++i) {
    uint64_t p = a[i] & 0xffff, q = a[i] >> 16 & 0xffff, u = a[i] >> 32 & 0xffff, v = a[i] >> 48;
    EXPECT_EQ(out[3 * i], a[i] >> 32 | a[i] << 32);
    EXPECT_EQ(out[3 * i + 1], v | p << 16 | u << 32 | q << 48);
    EXPECT_EQ(out[3 * i + 2], q | p << 16);
  }
}

//===----------------------------------------------------------------------===//
// Shared memory and barriers
//===----------------------------------------------------------------------===//

TEST(NvccShared, BlockSum) {
  std::vector<int> a(512);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = int(i * i % 1009) - 500;
  Launch launch("shared", "block_sum", 4, 128);
  launch.in(a).out<int>(4).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(4));
  for (int b = 0; b < 4; ++b)
    EXPECT_EQ(out[b], std::accumulate(a.begin() + b * 128, a.begin() + (b + 1) * 128, 0));
}

TEST(NvccShared, TransposeWithRaggedEdges) {
  constexpr int width = 37, height = 21;
  std::vector<float> in(width * height);
  std::iota(in.begin(), in.end(), 0.0f);
  Launch launch("shared", "transpose", Shape(3, 2), Shape(16, 16));
  launch.in(in).out<float>(in.size()).value(width).value(height).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), in.size());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      ASSERT_EQ(out[size_t(x * height + y)], in[size_t(y * width + x)]);
}

TEST(NvccShared, PrefixSumInDynamicMemory) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(100, 6);
  Launch launch("shared", "prefix_sum", 1, 100, 800);
  launch.in(a).out<uint32_t>(100).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(1), expected(100);
  std::partial_sum(a.begin(), a.end(), expected.begin());
  EXPECT_EQ(out, expected);
}

TEST(NvccShared, StaticAndDynamicTogether) {
  std::vector<uint8_t> a = randomBytes(64, 7);
  Launch launch("shared", "mixed_shared", 1, 64, 128);
  launch.in(a).out<uint64_t>(8).run();
  std::vector<uint64_t> out = launch.result<uint64_t>(1);
  ASSERT_EQ(out.size(), size_t(8));
  for (size_t t = 0; t < 8; ++t) {
    uint64_t word;
    std::memcpy(&word, &a[8 * t], 8);
    EXPECT_EQ(out[7 - t], word + (a[2 * t] * 257u | uint32_t(a[2 * t + 1]) * 257u << 16));
  }
}

TEST(NvccShared, MoreThanTheDefaultLimit) {
  constexpr uint32_t words = 15000, threads = 128;
  Launch launch("shared", "large_shared", 1, threads, words * 4);
  launch.out<uint32_t>(threads).value(int(words)).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(0), expected(threads);
  for (uint32_t i = 0; i < words; ++i)
    expected[i % threads] += (words - 1 - i) * 2654435761u ^ i;
  EXPECT_EQ(out, expected);
}

TEST(NvccShared, BarrierReductions) {
  std::vector<int> a(3 * 80);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = int(i * 37 % 60) - 20;
  a[100] = 77;
  a[200] = -150;
  Launch launch("shared", "barrier_reductions", 3, 80);
  launch.in(a).out<int>(3 * a.size()).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), 3 * a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    auto begin = a.begin() + long(i / 80 * 80), end = begin + 80;
    EXPECT_EQ(out[3 * i], std::count_if(begin, end, [](int x) { return x > 0; }));
    EXPECT_EQ(out[3 * i + 1], std::all_of(begin, end, [](int x) { return x > -100; }));
    EXPECT_EQ(out[3 * i + 2], std::count(begin, end, 77) > 0);
  }
}

TEST(NvccShared, NamedAndWarpBarriers) {
  std::vector<int> a(128);
  std::iota(a.begin(), a.end(), 1);
  Launch named("shared", "named_barriers", 1, 64);
  named.in(a).out<int>(128).run();
  std::vector<int> out = named.result<int>(1);
  ASSERT_EQ(out.size(), size_t(128));
  for (int i = 0; i < 128; ++i)
    EXPECT_EQ(out[i], a[size_t(i / 32 * 32 + 31 - i % 32)] * (i / 32 + 1));

  Launch partial("shared", "partial_barrier", 1, 128);
  partial.in(a).out<int>(64).run();
  out = partial.result<int>(1);
  ASSERT_EQ(out.size(), size_t(64));
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(out[i], a[size_t(63 - i)]);

  Launch warps("shared", "warp_barriers", 1, 64);
  warps.in(a).out<int>(64).run();
  out = warps.result<int>(1);
  ASSERT_EQ(out.size(), size_t(64));
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(out[i], i % 32 < 8 ? a[size_t(i ^ 7 ^ 1)] * 3 : a[size_t(i ^ 1)] + 1);

  Launch flag("shared", "fenced_flag", 1, 64);
  flag.in(std::vector<int>(1)).in(std::vector<int>(1)).out<int>(1).run();
  EXPECT_EQ(flag.result<int>(2), std::vector<int>(1, 99));
}

//===----------------------------------------------------------------------===//
// cp.async
//===----------------------------------------------------------------------===//

TEST(NvccAsync, WidthsAndZeroFill) {
  std::vector<uint32_t> in = randomIntegers<uint32_t>(256, 8);
  Launch widths("async", "copy_widths", 1, 32);
  widths.in(in).out<uint32_t>(256).run();
  std::vector<uint32_t> out = widths.result<uint32_t>(1);
  ASSERT_EQ(out.size(), size_t(256));
  for (size_t i = 0; i < 256; ++i)
    EXPECT_EQ(out[i], in[i < 96 || i >= 128 ? i : i - 32] * 3);

  for (int bytes : {0, 4, 100, 256, 511, 512}) {
    Launch fill("async", "copy_zero_fill", 1, 32);
    fill.in(in).out<uint32_t>(128).value(bytes).run();
    out = fill.result<uint32_t>(1);
    std::vector<uint32_t> row(128);
    std::memcpy(row.data(), in.data(), size_t(bytes));
    std::reverse(row.begin(), row.end());
    EXPECT_EQ(out, row) << bytes;
  }
}

TEST(NvccAsync, Stages) {
  for (int tiles : {1, 2, 3, 8}) {
    std::vector<float> in;
    for (int i = 0; i < tiles * 64; ++i)
      in.push_back(float(i * 31 % 256));
    Launch launch("async", "copy_stages", 1, 64);
    launch.in(in).out<float>(64).value(tiles).run();
    std::vector<float> out = launch.result<float>(1);
    ASSERT_EQ(out.size(), size_t(64));
    for (int t = 0; t < 64; ++t) {
      float sum = 0;
      for (int s = 0; s < tiles; ++s)
        sum = sum * 0.5f + in[size_t(s * 64 + 63 - t)]; // exact
      EXPECT_EQ(out[t], sum);
    }
  }
}

TEST(NvccAsync, OwnCopies) {
  std::vector<uint32_t> in = randomIntegers<uint32_t>(256, 9);
  Launch launch("async", "copy_own", 1, 32);
  launch.in(in).out<uint32_t>(128).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(1);
  ASSERT_EQ(out.size(), size_t(128));
  for (size_t i = 0; i < 128; ++i)
    EXPECT_EQ(out[i], in[i] + (i % 4 == 3 ? 0 : in[128 + i]));
}

} // namespace
