//===- matrix.cpp - mma.sync over whole fragments --------------------------===//
//
// Unpacks the fragments of a warp once into plain matrices, multiplies them and packs the result again. All m16n8
// shapes share one layout: with e elements in a register, register r of lane l holds of A row l/4 + 8 (r mod 2),
// columns 4e (r/2) + e (l mod 4) + i; of B rows 4e r + e (l mod 4) + i, column l/4.
//
//===----------------------------------------------------------------------===//
#include "isa.h"

#include <type_traits>

using namespace gpusim;

namespace {

constexpr int kRows = 16, kColumns = 8, kMaxDepth = 32;

/// Elements of A or B in one register.
constexpr int elementsPerRegister(MmaOperand type) {
  switch (type) {
  case MmaOperand::TF32:
    return 1;
  case MmaOperand::F16:
  case MmaOperand::BF16:
    return 2;
  default:
    return 4;
  }
}

bool isInteger(MmaOperand type) { return type == MmaOperand::S8 || type == MmaOperand::U8; }
bool isFp8(MmaOperand type) { return type == MmaOperand::E4M3 || type == MmaOperand::E5M2; }

/// The widened values of all codes of an 8-bit type, and of f16, whose subnormals make a formula slow.
struct Tables {
  float e4m3[256], e5m2[256];
  float f16[65536];
  Tables() {
    for (int code = 0; code < 256; ++code) {
      e4m3[code] = fp8ToFloat(Fp8Type::E4M3, uint8_t(code));
      e5m2[code] = fp8ToFloat(Fp8Type::E5M2, uint8_t(code));
    }
    for (int code = 0; code < 65536; ++code)
      f16[code] = halfToFloat(HalfType::F16, uint16_t(code));
  }
};

const Tables &tables() {
  static const Tables instance;
  return instance;
}

/// Element i of a register of type `type`.
template <MmaOperand type, typename T> T unpack(uint32_t word, int i) {
  switch (type) {
  case MmaOperand::F16:
    return T(tables().f16[word >> (16 * i) & 0xffff]);
  case MmaOperand::BF16:
    return T(asF32(word >> (16 * i) << 16));
  case MmaOperand::TF32: // the hardware does not look at the low bits
    return T(asF32(word & 0xffffe000u));
  case MmaOperand::E4M3:
    return T(tables().e4m3[word >> (8 * i) & 0xff]);
  case MmaOperand::E5M2:
    return T(tables().e5m2[word >> (8 * i) & 0xff]);
  case MmaOperand::S8:
    return T(int8_t(word >> (8 * i)));
  case MmaOperand::U8:
    return T(uint8_t(word >> (8 * i)));
  }
  return T();
}

template <typename T> struct Tiles {
  T a[kMaxDepth][kRows]; // A by columns, so that one k is one column of A times one row of B
  T b[kMaxDepth][kColumns];
  T c[kRows][kColumns];
};

template <MmaOperand type, typename T> void unpackA(int registers, const uint32_t (*a)[32], Tiles<T> &tiles) {
  constexpr int elements = elementsPerRegister(type);
  for (int r = 0; r < registers; ++r)
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < elements; ++i)
        tiles.a[4 * elements * (r / 2) + elements * (lane % 4) + i][lane / 4 + 8 * (r % 2)] =
            unpack<type, T>(a[r][lane], i);
}

template <MmaOperand type, typename T> void unpackB(int registers, const uint32_t (*b)[32], Tiles<T> &tiles) {
  constexpr int elements = elementsPerRegister(type);
  for (int r = 0; r < registers; ++r)
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < elements; ++i)
        tiles.b[4 * elements * r + elements * (lane % 4) + i][lane / 4] = unpack<type, T>(b[r][lane], i);
}

/// Calls `visit` with the operand type as a compile-time constant.
template <typename Visitor> void dispatch(MmaOperand type, Visitor visit) {
  switch (type) {
  case MmaOperand::F16:
    return visit(std::integral_constant<MmaOperand, MmaOperand::F16>());
  case MmaOperand::BF16:
    return visit(std::integral_constant<MmaOperand, MmaOperand::BF16>());
  case MmaOperand::TF32:
    return visit(std::integral_constant<MmaOperand, MmaOperand::TF32>());
  case MmaOperand::E4M3:
    return visit(std::integral_constant<MmaOperand, MmaOperand::E4M3>());
  case MmaOperand::E5M2:
    return visit(std::integral_constant<MmaOperand, MmaOperand::E5M2>());
  case MmaOperand::S8:
    return visit(std::integral_constant<MmaOperand, MmaOperand::S8>());
  case MmaOperand::U8:
    return visit(std::integral_constant<MmaOperand, MmaOperand::U8>());
  }
}

template <typename T>
void unpackOperands(MmaKind kind, const uint32_t (*a)[32], const uint32_t (*b)[32], Tiles<T> &tiles) {
  MmaRegisters registers = mmaRegisters(kind);
  dispatch(kind.a, [&](auto type) { unpackA<decltype(type)::value>(registers.a, a, tiles); });
  dispatch(kind.b, [&](auto type) { unpackB<decltype(type)::value>(registers.b, b, tiles); });
}

/// One row of C or B; the compiler splits it into what the host has.
typedef float Row __attribute__((vector_size(sizeof(float) * kColumns)));

/// c += a * b in ascending k; four rows of C stay in registers over all k, which hides the latency of the additions.
void multiply(int depth, Tiles<float> &tiles) {
  constexpr int step = 4;
  for (int row = 0; row < kRows; row += step) {
    Row sums[step], factor;
    std::memcpy(sums, tiles.c[row], sizeof(sums));
    for (int k = 0; k < depth; ++k) {
      std::memcpy(&factor, tiles.b[k], sizeof(factor));
      for (int i = 0; i < step; ++i)
        sums[i] += tiles.a[k][row + i] * factor;
    }
    std::memcpy(tiles.c[row], sums, sizeof(sums));
  }
}

/// Register and lane of element (row, column) of a 32-bit accumulator.
int accumulatorRegister(int row, int column) { return 2 * (row / 8) + column % 2; }
int accumulatorLane(int row, int column) { return 4 * (row % 8) + column / 2; }

void multiplyFloat(MmaKind kind, const uint32_t (*a)[32], const uint32_t (*b)[32], const uint32_t (*c)[32],
                   uint32_t (*d)[32]) {
  Tiles<float> tiles;
  unpackOperands(kind, a, b, tiles);
  bool half = kind.accumulator == MmaAccumulator::F16;
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column) {
      int lane = accumulatorLane(row, column);
      tiles.c[row][column] = half ? tables().f16[c[row / 8][lane] >> (16 * (column % 2)) & 0xffff]
                                  : asF32(c[accumulatorRegister(row, column)][lane]);
    }
  multiply(kind.k, tiles);
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; column += 2) {
      int lane = accumulatorLane(row, column);
      const float *pair = &tiles.c[row][column];
      if (half) {
        d[row / 8][lane] = floatToHalf(HalfType::F16, pair[0]) | uint32_t(floatToHalf(HalfType::F16, pair[1])) << 16;
        continue;
      }
      d[accumulatorRegister(row, column)][lane] = canonicalF32(pair[0]);
      d[accumulatorRegister(row, column + 1)][lane] = canonicalF32(pair[1]);
    }
}

/// The sum of 32 products fits 32 bits; adding C may not, and then wraps or clamps.
void multiplyInteger(MmaKind kind, const uint32_t (*a)[32], const uint32_t (*b)[32], const uint32_t (*c)[32],
                     uint32_t (*d)[32]) {
  Tiles<int32_t> tiles;
  unpackOperands(kind, a, b, tiles);
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column) {
      int32_t sum = 0;
      for (int k = 0; k < kind.k; ++k)
        sum += tiles.a[k][row] * tiles.b[k][column];
      int r = accumulatorRegister(row, column), lane = accumulatorLane(row, column);
      int64_t total = int64_t(sum) + int32_t(c[r][lane]);
      if (kind.satfinite)
        total = total > INT32_MAX ? INT32_MAX : total < INT32_MIN ? INT32_MIN : total;
      d[r][lane] = uint32_t(total);
    }
}

} // namespace

MmaRegisters gpusim::mmaRegisters(MmaKind kind) {
  int elements = elementsPerRegister(kind.a);
  MmaRegisters result;
  if (elementsPerRegister(kind.b) != elements || isInteger(kind.a) != isInteger(kind.b) ||
      isFp8(kind.a) != isFp8(kind.b) || (elements < 4 && kind.a != kind.b) ||
      (kind.k != 4 * elements && kind.k != 8 * elements))
    return result;
  if (isInteger(kind.a) != (kind.accumulator == MmaAccumulator::S32))
    return result;
  if (kind.accumulator == MmaAccumulator::F16 && kind.a != MmaOperand::F16 && !isFp8(kind.a))
    return result;
  result.valid = true;
  result.b = kind.k / (4 * elements);
  result.a = 2 * result.b;
  result.c = kind.accumulator == MmaAccumulator::F16 ? 2 : 4;
  return result;
}

void gpusim::mma(MmaKind kind, const uint32_t (*a)[32], const uint32_t (*b)[32], const uint32_t (*c)[32],
                 uint32_t (*d)[32]) {
  if (isInteger(kind.a))
    multiplyInteger(kind, a, b, c, d);
  else
    multiplyFloat(kind, a, b, c, d);
}
