//===- integer_test.cpp - Integer instructions of nvcc-made kernels --------===//
//
// Expected values come from plain C++ on the host, in 64 or 128 bits where the instruction needs it.
//
//===----------------------------------------------------------------------===//
#include "gpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>

using namespace gpu_test;

namespace {

constexpr int kCount = 256;

/// out[op * n + i] of an elementwise kernel against expected[op](i).
template <typename T, typename Expected>
void expectOps(const char *kernel, const std::vector<T> &out, const std::vector<Expected> &expected) {
  ASSERT_EQ(out.size(), expected.size() * kCount) << kernel;
  for (size_t op = 0; op < expected.size(); ++op)
    for (int i = 0; i < kCount; ++i)
      ASSERT_EQ(+out[op * kCount + i], +T(expected[op](i))) << kernel << ": operation " << op << ", element " << i;
}

template <typename T> struct Operands {
  std::vector<T> a = randomIntegers<T>(kCount, 1), b = randomIntegers<T>(kCount, 2), c = randomIntegers<T>(kCount, 3);
};

template <typename T> std::vector<T> runBinary(const char *kernel, const Operands<T> &operands, size_t operations) {
  Launch launch("integer", kernel, kCount / 64, 64);
  launch.in(operands.a).in(operands.b).template out<T>(operations * kCount).value(kCount).run();
  return launch.result<T>(2);
}

template <typename T> std::vector<T> runTernary(const char *kernel, const Operands<T> &operands, size_t operations) {
  Launch launch("integer", kernel, kCount / 64, 64);
  launch.in(operands.a).in(operands.b).in(operands.c).template out<T>(operations * kCount).value(kCount).run();
  return launch.result<T>(3);
}

int64_t clampS32(int64_t value) { return std::clamp<int64_t>(value, INT32_MIN, INT32_MAX); }

TEST(NvccInteger, Int8) {
  Operands<uint8_t> v;
  std::vector<std::function<int(int)>> expected = {[&](int i) { return v.a[i] + v.b[i]; },
                                                   [&](int i) { return v.a[i] * v.b[i]; },
                                                   [&](int i) { return int8_t(v.a[i]) >> (v.b[i] & 7); },
                                                   [&](int i) { return int8_t(v.a[i]) / int8_t(v.b[i] | 1); },
                                                   [&](int i) { return v.a[i] % (v.b[i] | 1); },
                                                   [&](int i) { return std::min(int8_t(v.a[i]), int8_t(v.b[i])); }};
  expectOps("int8_arith", runBinary("int8_arith", v, expected.size()), expected);
}

TEST(NvccInteger, Int16) {
  Operands<uint16_t> v;
  auto sa = [&](int i) { return int(int16_t(v.a[i])); };
  auto sb = [&](int i) { return int(int16_t(v.b[i])); };
  auto shift = [&](int i) { return std::min(v.b[i] & 31, 16); };
  std::vector<std::function<int(int)>> expected = {[&](int i) { return v.a[i] + v.b[i]; },
                                                   [&](int i) { return v.a[i] - v.b[i]; },
                                                   [&](int i) { return sa(i) * sb(i); },
                                                   [&](int i) { return uint32_t(v.a[i]) * v.b[i] >> 16; },
                                                   [&](int i) { return sa(i) * sb(i) >> 16; },
                                                   [&](int i) { return std::min(sa(i), sb(i)); },
                                                   [&](int i) { return std::max(v.a[i], v.b[i]); },
                                                   [&](int i) { return v.a[i] & v.b[i]; },
                                                   [&](int i) { return v.a[i] ^ v.b[i]; },
                                                   [&](int i) { return sa(i) / int16_t(v.b[i] | 1); },
                                                   [&](int i) { return v.a[i] % (v.b[i] | 1); },
                                                   [&](int i) { return v.a[i] << shift(i); },
                                                   [&](int i) { return sa(i) >> shift(i); }};
  expectOps("int16_arith", runBinary("int16_arith", v, expected.size()), expected);
}

int64_t low24(uint32_t value, bool isSigned) { return isSigned ? int32_t(value << 8) >> 8 : int64_t(value & 0xffffff); }

TEST(NvccInteger, Int32Arithmetic) {
  Operands<uint32_t> v;
  auto a = [&](int i) { return uint64_t(v.a[i]); };
  auto b = [&](int i) { return uint64_t(v.b[i]); };
  auto sa = [&](int i) { return int64_t(int32_t(v.a[i])); };
  auto sb = [&](int i) { return int64_t(int32_t(v.b[i])); };
  std::vector<std::function<uint64_t(int)>> expected = {
      [&](int i) { return a(i) + b(i); },
      [&](int i) { return a(i) - b(i); },
      [&](int i) { return a(i) * b(i); },
      [&](int i) { return a(i) * b(i) >> 32; },
      [&](int i) { return sa(i) * sb(i) >> 32; },
      [&](int i) { return a(i) * b(i) + v.c[i]; },
      [&](int i) { return (a(i) * b(i) >> 32) + v.c[i]; },
      [&](int i) { return (sa(i) * sb(i) >> 32) + v.c[i]; },
      [&](int i) { return low24(v.a[i], true) * low24(v.b[i], true); },
      [&](int i) { return low24(v.a[i], false) * low24(v.b[i], false); },
      [&](int i) { return v.a[i] / (v.b[i] | 1); },
      [&](int i) { return v.a[i] % (v.b[i] | 1); },
      [&](int i) { return sa(i) / int64_t(v.b[i] % 1000 + 1); },
      [&](int i) { return sa(i) % int64_t(v.b[i] % 1000 + 1); },
      [&](int i) { return std::min(sa(i), sb(i)); },
      [&](int i) { return std::max(a(i), b(i)); },
      [&](int i) { return sa(i) < 0 ? -sa(i) : sa(i); },
      [&](int i) { return -a(i); },
      [&](int i) { return clampS32(sa(i) + sb(i)); },
      [&](int i) { return clampS32(sa(i) - sb(i)); },
      [&](int i) { return (a(i) > b(i) ? a(i) - b(i) : b(i) - a(i)) + v.c[i]; },
      [&](int i) { return (sa(i) > sb(i) ? sa(i) - sb(i) : sb(i) - sa(i)) + v.c[i]; },
      [&](int i) { return (sa(i) + sb(i)) >> 1; },
      [&](int i) { return (a(i) + b(i) + 1) >> 1; }};
  expectOps("int32_arith", runTernary("int32_arith", v, expected.size()), expected);
}

int highestBit(uint64_t value) { return value ? 63 - __builtin_clzll(value) : -1; }

/// bfe as the manual's loop: the field's bits, then the sign bit of the field (or of the value, where the field ends
/// beyond).
uint64_t extractField(uint64_t value, unsigned position, unsigned length, unsigned width, bool isSigned) {
  uint64_t result = 0;
  unsigned last = std::min(position + length - 1, width - 1);
  uint64_t fill = !isSigned || length == 0 ? 0 : value >> last & 1;
  for (unsigned i = 0; i < width; ++i) {
    uint64_t bit = i < length && position + i < width ? value >> (position + i) & 1 : fill;
    result |= bit << i;
  }
  return result;
}

uint64_t insertField(uint64_t field, uint64_t base, unsigned position, unsigned length, unsigned width) {
  for (unsigned i = 0; i < length && position + i < width; ++i)
    base = (base & ~(1ull << (position + i))) | (field >> i & 1) << (position + i);
  return base;
}

uint64_t reverseBits(uint64_t value, int width) {
  uint64_t result = 0;
  for (int i = 0; i < width; ++i)
    result |= (value >> i & 1) << (width - 1 - i);
  return result;
}

TEST(NvccInteger, Int32Bits) {
  Operands<uint32_t> v;
  auto pair = [&](int i) { return uint64_t(v.b[i]) << 32 | v.a[i]; };
  auto clamped = [&](int i) { return std::min(v.c[i] & 63, 32u); };
  std::vector<std::function<uint64_t(int)>> expected = {
      [&](int i) { return v.a[i] & v.b[i]; },
      [&](int i) { return v.a[i] | v.b[i]; },
      [&](int i) { return ~v.a[i]; },
      [&](int i) { return v.a[i] == 0; },
      [&](int i) { return uint64_t(v.a[i]) << (v.b[i] & 63); },
      [&](int i) { return uint64_t(v.a[i]) >> (v.b[i] & 63); },
      [&](int i) { return int64_t(int32_t(v.a[i])) >> (v.b[i] & 63); },
      [&](int i) { return __builtin_popcount(v.a[i]); },
      [&](int i) { return 31 - highestBit(v.a[i]); },
      [&](int i) { return __builtin_ffs(v.a[i]); },
      [&](int i) { return reverseBits(v.a[i], 32); },
      [&](int i) { return highestBit(v.a[i]); },
      [&](int i) { return highestBit(int32_t(v.a[i]) < 0 ? ~v.a[i] : v.a[i]); },
      [&](int i) { return v.a[i] ? 31 - highestBit(v.a[i]) : -1; },
      [&](int i) { return extractField(v.a[i], v.b[i] & 255, v.c[i] & 63, 32, false); },
      [&](int i) { return extractField(v.a[i], v.b[i] & 255, v.c[i] & 63, 32, true); },
      [&](int i) { return insertField(v.a[i], v.b[i], v.c[i] & 63, v.c[i] >> 8 & 63, 32); },
      [&](int i) { return pair(i) << (v.c[i] & 31) >> 32; },
      [&](int i) { return pair(i) >> (v.c[i] & 31); },
      [&](int i) { return clamped(i) == 32 ? v.a[i] : pair(i) << clamped(i) >> 32; },
      [&](int i) { return pair(i) >> clamped(i); }};
  expectOps("int32_bits", runTernary("int32_bits", v, expected.size()), expected);
}

uint32_t lookup(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (int i = 0; i < 32; ++i)
    result |= (table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
  return result;
}

/// The bytes of b:a that four selectors name; bit 3 of a selector replicates the byte's sign.
uint32_t permute(uint32_t a, uint32_t b, const int (&selectors)[4], bool signs = false) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t byte = uint32_t(bytes >> (8 * (selectors[i] & 7))) & 0xff;
    if (signs && selectors[i] & 8)
      byte = byte >> 7 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

TEST(NvccInteger, Lop3AndPrmt) {
  Operands<uint32_t> v;
  auto lop = [&](uint32_t table) { return [&, table](int i) { return lookup(v.a[i], v.b[i], v.c[i], table); }; };
  auto select = [&](int i, int mask) {
    return std::array<int, 4>{int(v.c[i]) & mask, int(v.c[i] >> 4) & mask, int(v.c[i] >> 8) & mask,
                              int(v.c[i] >> 12) & mask};
  };
  auto modes = [&](const int (&table)[4][4]) {
    std::vector<std::vector<int>> rows;
    for (auto &row : table)
      rows.emplace_back(row, row + 4);
    return [&v, rows](int i) {
      const std::vector<int> &row = rows[v.c[i] & 3];
      return permute(v.a[i], v.b[i], {row[0], row[1], row[2], row[3]});
    };
  };
  // Rows by selector, lowest byte first, as in the manual's table read from the right.
  std::vector<std::function<uint32_t(int)>> expected = {
      lop(0x96),
      lop(0xe8),
      lop(0xca),
      lop(0x01),
      lop(0x5a),
      [&](int i) { return (v.a[i] & v.b[i]) | (~v.a[i] & v.c[i]); },
      [&](int i) {
        auto s = select(i, 7);
        return permute(v.a[i], v.b[i], {s[0], s[1], s[2], s[3]});
      },
      [&](int i) {
        auto s = select(i, 15);
        return permute(v.a[i], v.b[i], {s[0], s[1], s[2], s[3]}, true);
      },
      modes({{0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}}),
      modes({{0, 7, 6, 5}, {1, 0, 7, 6}, {2, 1, 0, 7}, {3, 2, 1, 0}}),
      modes({{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}),
      modes({{0, 1, 2, 3}, {1, 1, 2, 3}, {2, 2, 2, 3}, {3, 3, 3, 3}}),
      modes({{0, 0, 0, 0}, {0, 1, 1, 1}, {0, 1, 2, 2}, {0, 1, 2, 3}}),
      modes({{0, 1, 0, 1}, {2, 3, 2, 3}, {0, 1, 0, 1}, {2, 3, 2, 3}})};
  expectOps("lop3_prmt", runTernary("lop3_prmt", v, expected.size()), expected);
}

TEST(NvccInteger, Int64) {
  Operands<uint64_t> v;
  auto sa = [&](int i) { return int64_t(v.a[i]); };
  auto sb = [&](int i) { return int64_t(v.b[i]); };
  auto divisor = [&](int i) { return int64_t(v.b[i] >> 40 | 1); };
  auto shift = [&](int i) { return v.b[i] & 127; };
  std::vector<std::function<uint64_t(int)>> expected = {
      [&](int i) { return v.a[i] + v.b[i]; },
      [&](int i) { return v.a[i] - v.b[i]; },
      [&](int i) { return v.a[i] * v.b[i]; },
      [&](int i) { return uint64_t((unsigned __int128)v.a[i] * v.b[i] >> 64); },
      [&](int i) { return uint64_t((__int128)sa(i) * sb(i) >> 64); },
      [&](int i) { return v.a[i] / (v.b[i] | 1); },
      [&](int i) { return v.a[i] % (v.b[i] | 1); },
      [&](int i) { return sa(i) / divisor(i); },
      [&](int i) { return sa(i) % divisor(i); },
      [&](int i) { return std::min(sa(i), sb(i)); },
      [&](int i) { return std::max(v.a[i], v.b[i]); },
      [&](int i) { return sa(i) < 0 ? 0 - v.a[i] : v.a[i]; },
      [&](int i) { return 0 - v.a[i]; },
      [&](int i) { return v.a[i] ^ v.b[i]; },
      [&](int i) { return ~v.a[i]; },
      [&](int i) { return (v.a[i] & 0xffffffff) * (v.b[i] & 0xffffffff); },
      [&](int i) { return int64_t(int32_t(v.a[i])) * int32_t(v.b[i]); },
      [&](int i) { return uint64_t(int64_t(int32_t(v.a[i])) * int32_t(v.b[i])) + v.b[i]; },
      [&](int i) { return __builtin_popcountll(v.a[i]); },
      [&](int i) { return 63 - highestBit(v.a[i]); },
      [&](int i) { return reverseBits(v.a[i], 64); },
      [&](int i) { return __builtin_ffsll(v.a[i]); },
      [&](int i) { return shift(i) > 63 ? 0 : v.a[i] << shift(i); },
      [&](int i) { return sa(i) >> std::min<uint64_t>(shift(i), 63); },
      [&](int i) { return extractField(v.a[i], v.b[i] & 63, v.b[i] >> 8 & 127, 64, true); },
      [&](int i) { return insertField(v.a[i], v.b[i], v.a[i] & 63, v.b[i] >> 8 & 63, 64); }};
  expectOps("int64_arith", runBinary("int64_arith", v, expected.size()), expected);
}

TEST(NvccInteger, CarryChains) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(4 * kCount, 5), b = randomIntegers<uint32_t>(4 * kCount, 6);
  for (int k = 0; k < 4; ++k) { // a carry and a borrow through all words
    a[k] = 0xffffffff;
    b[k] = k == 0;
    a[4 + k] = 0;
    b[4 + k] = k == 0;
  }
  Launch launch("integer", "carry_chains", kCount / 64, 64);
  launch.in(a).in(b).out<uint32_t>(14 * kCount).value(kCount).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(2);
  ASSERT_EQ(out.size(), size_t(14 * kCount));
  for (int i = 0; i < kCount; ++i) {
    const uint32_t *x = &a[4 * i], *y = &b[4 * i], *got = &out[14 * i];
    uint64_t carry = 0;
    int64_t borrow = 0;
    for (int k = 0; k < 4; ++k) {
      carry += uint64_t(x[k]) + y[k];
      ASSERT_EQ(got[k], uint32_t(carry));
      carry >>= 32;
      borrow += int64_t(x[k]) - int64_t(y[k]);
      ASSERT_EQ(got[5 + k], uint32_t(borrow));
      borrow >>= 32;
    }
    ASSERT_EQ(got[4], uint32_t(carry));
    ASSERT_EQ(got[9], uint32_t(borrow));
    uint64_t product = uint64_t(x[0]) * y[0];
    unsigned __int128 sum = (unsigned __int128)product + (uint64_t(y[1]) << 32 | x[1]);
    ASSERT_EQ(got[10], uint32_t(sum));
    ASSERT_EQ(got[11], uint32_t(sum >> 32));
    ASSERT_EQ(got[12], uint32_t(sum >> 64));
    ASSERT_EQ(got[13], uint32_t((product >> 32) + x[1]));
  }
}

TEST(NvccInteger, Int128) {
  std::vector<uint64_t> a = randomIntegers<uint64_t>(2 * kCount, 7), b = randomIntegers<uint64_t>(2 * kCount, 8);
  Launch launch("integer", "int128_arith", kCount / 64, 64);
  launch.in(a).in(b).out<uint64_t>(6 * kCount).value(kCount).run();
  std::vector<uint64_t> out = launch.result<uint64_t>(2);
  ASSERT_EQ(out.size(), size_t(6 * kCount));
  using Wide = unsigned __int128;
  for (int i = 0; i < kCount; ++i) {
    Wide x = Wide(a[2 * i + 1]) << 64 | a[2 * i], y = Wide(b[2 * i + 1]) << 64 | b[2 * i];
    const Wide expected[] = {x + y, x - y, x * y};
    for (int k = 0; k < 3; ++k)
      ASSERT_TRUE(expected[k] == (Wide(out[6 * i + 2 * k + 1]) << 64 | out[6 * i + 2 * k])) << i << " operation " << k;
  }
}

template <typename A, typename B> int64_t dot4(uint32_t a, uint32_t b) {
  int64_t sum = 0;
  for (int i = 0; i < 4; ++i)
    sum += int64_t(A(a >> (8 * i))) * B(b >> (8 * i));
  return sum;
}

TEST(NvccInteger, DotProducts) {
  Operands<uint32_t> v;
  std::vector<std::function<int64_t(int)>> expected = {
      [&](int i) { return dot4<int8_t, int8_t>(v.a[i], v.b[i]) + v.c[i]; },
      [&](int i) { return dot4<uint8_t, uint8_t>(v.a[i], v.b[i]) + v.c[i]; },
      [&](int i) { return dot4<uint8_t, int8_t>(v.a[i], v.b[i]) + v.c[i]; },
      [&](int i) {
        return int64_t(int16_t(v.a[i])) * int8_t(v.b[i]) + int64_t(int16_t(v.a[i] >> 16)) * int8_t(v.b[i] >> 8) +
               v.c[i];
      },
      [&](int i) {
        return int64_t(uint16_t(v.a[i])) * uint8_t(v.b[i] >> 16) + int64_t(v.a[i] >> 16) * uint8_t(v.b[i] >> 24) +
               v.c[i];
      }};
  expectOps("dot_products", runTernary("dot_products", v, expected.size()), expected);
}

TEST(NvccInteger, Selections) {
  Operands<uint32_t> v;
  auto sa = [&](int i) { return int32_t(v.a[i]); };
  auto sb = [&](int i) { return int32_t(v.b[i]); };
  auto sc = [&](int i) { return int32_t(v.c[i]); };
  for (int i = 0; i < kCount; i += 5)
    v.b[i] = v.a[i]; // equal operands
  std::vector<std::function<uint32_t(int)>> expected = {
      [&](int i) { return sa(i) < sb(i) ? ~0u : 0u; },
      [&](int i) { return v.a[i] >= v.b[i] ? ~0u : 0u; },
      [&](int i) { return sa(i) >= sb(i) ? 0x3f800000u : 0u; },
      [&](int i) { return sc(i) >= 0 ? v.a[i] : v.b[i]; },
      [&](int i) { return v.a[i] < v.b[i] ? 1u : 6u; },
      [&](int i) { return sa(i) <= sb(i) && sb(i) > sc(i) ? v.a[i] : v.c[i]; },
      [&](int i) {
        uint32_t x = v.a[i] & 3, y = v.b[i] & 3, z = v.c[i] & 3;
        bool q = y != z, p = (x == y) != !q, s = (!p || q) != p;
        return s ? 7u : 9u;
      }};
  expectOps("selections", runTernary("selections", v, expected.size()), expected);
}

} // namespace
