//===- GemmCase.cpp - random matrix products with an oracle -------------------===//
// Random operands and sums in double.

#include "GemmCase.h"
#include <cmath>
#include <random>

using namespace moray::codegen;
using namespace moray::test;

float moray::test::fromBf16(uint16_t code) {
  uint32_t u = uint32_t(code) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
uint16_t moray::test::toBf16(float value) {
  uint32_t u = bits(value);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float moray::test::fromF8(uint8_t code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  float magnitude = exponent ? std::ldexp(1.0f + mantissa / 8.0f, exponent - 7) : std::ldexp(mantissa / 8.0f, -6);
  return code & 0x80 ? -magnitude : magnitude;
}

double GemmShape::tolerance() const { return out == DType::BF16 ? 1.0 / 128 : 2e-6; }

KernelSpec GemmShape::spec() const {
  auto body = std::make_shared<GemmBody>();
  body->x = x, body->w = w, body->out = out, body->O = rows(), body->K = K;
  body->xPitch = pitch(), body->xOffset = xOffset, body->wPitch = wPitch(), body->scalePitch = scalePitch();
  body->domain.kind = domain;
  body->checkFinite = checkFinite;
  if (swiglu)
    body->epilogue = {GemmEpilogue::Swiglu, 0, upBegin(), swiglu, roundParts};
  body->experts = experts;
  body->xArg = 0, body->wArg = 2, body->outArg = 7;
  body->xScaleArg = x == DType::F8E4M3 ? 1 : -1;
  body->wScaleArg = scalePitch() ? 3 : -1;
  body->biasArg = bias ? 4 : -1;
  body->bias = DType::BF16;
  body->offsetsArg = experts ? 5 : -1;
  body->gatherArg = experts ? 6 : -1;
  return {experts ? KernelClass::GroupedGemm : KernelClass::Gemm, 8, body};
}

namespace {
struct Random {
  std::mt19937_64 engine;
  explicit Random(uint64_t seed) : engine(seed) {}
  float normal() { return std::normal_distribution<float>()(engine); }
  uint8_t code() { // any finite E4M3 code
    uint8_t c = uint8_t(engine());
    return (c & 0x7f) == 0x7f ? 0 : c;
  }
};
} // namespace

static void put(DType type, void *base, uint64_t index, Random &random) {
  if (type == DType::F32)
    static_cast<float *>(base)[index] = random.normal();
  else if (type == DType::BF16)
    static_cast<uint16_t *>(base)[index] = toBf16(random.normal());
  else
    static_cast<uint8_t *>(base)[index] = random.code();
}
static double get(DType type, const void *base, uint64_t index) {
  if (type == DType::F32)
    return static_cast<const float *>(base)[index];
  if (type == DType::BF16)
    return fromBf16(static_cast<const uint16_t *>(base)[index]);
  return fromF8(static_cast<const uint8_t *>(base)[index]);
}

GemmData::GemmData(const GemmShape &s, uint64_t rows, uint64_t seed)
    : shape(s), rows(rows), x(rows * s.pitch() * byteWidth(s.x), true), xScales(rows * s.blocks() * 4, true),
      w(std::max<uint64_t>(s.experts, 1) * s.rows() * s.wPitch(), true),
      wScales(std::max<uint64_t>(s.experts, 1) * s.scaleRows() * s.scalePitch() + 64, true), bias(s.rows() * 2, true),
      offsets((s.experts + 1) * 4, true), gather(rows * 4, true), out(rows * s.width() * byteWidth(s.out), true) {
  Random weights(seed), activations(seed + 1);
  uint64_t matrices = std::max<uint64_t>(s.experts, 1), perRow = s.wPitch() / byteWidth(s.w);
  for (uint64_t row = 0; row < matrices * s.rows(); ++row)
    for (uint64_t k = 0; k < s.K; ++k)
      put(s.w, w.data(), row * perRow + k, weights);
  for (uint64_t i = 0; i < matrices * s.scaleRows() * s.scalePitch() / 4; ++i)
    wScales.data<float>()[i] = std::ldexp(1.0f + std::abs(weights.normal()), -8);
  for (uint64_t i = 0; i < s.rows(); ++i)
    put(DType::BF16, bias.data(), i, weights);
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t k = 0; k < s.pitch(); ++k)
      put(s.x, x.data(), row * s.pitch() + k, activations);
    for (uint64_t block = 0; block < s.blocks(); ++block)
      xScales.data<float>()[row * s.blocks() + block] = std::ldexp(1.0f + std::abs(activations.normal()), -6);
    gather.data<int32_t>()[row] = int32_t(row);
  }
}

uint32_t GemmData::run(const KernelRunner &runner, const SymbolValues &symbols, const KernelRunner::Options &options) {
  return runner.run(
      0, {x.data(), xScales.data(), w.data(), wScales.data(), bias.data(), offsets.data(), gather.data(), out.data()},
      symbols, options);
}

std::vector<float> GemmData::result() const {
  std::vector<float> values(rows * shape.width());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float(get(shape.out, out.data(), i));
  return values;
}
void GemmData::fillResult(float value) {
  for (uint64_t i = 0; i < rows * shape.width(); ++i)
    if (shape.out == DType::F32)
      out.data<float>()[i] = value;
    else
      out.data<uint16_t>()[i] = toBf16(value);
}
void GemmData::poisonRow(uint64_t row) {
  static_cast<uint16_t *>(x.data())[row * shape.pitch() + shape.xOffset] = 0x7fc0;
}

void GemmData::setGroups(const std::vector<int32_t> &counts, uint64_t tokens) {
  offsets.data<int32_t>()[0] = 0;
  for (size_t e = 0; e < counts.size(); ++e)
    offsets.data<int32_t>()[e + 1] = offsets.data<int32_t>()[e] + counts[e];
  for (uint64_t slot = 0; slot < rows; ++slot)
    gather.data<int32_t>()[slot] = int32_t(slot * 7 % tokens);
}
GemmData GemmData::denseRow(const GemmShape &dense, uint64_t slot, uint64_t e) const {
  GemmData one(dense, 1, 0);
  uint64_t row = gather.data<int32_t>()[slot], bytes = shape.pitch() * byteWidth(shape.x);
  std::memcpy(one.x.data(), x.data<char>() + row * bytes, bytes);
  std::memcpy(one.xScales.data(), xScales.data<float>() + row * shape.blocks(), shape.blocks() * 4);
  std::memcpy(one.w.data(), w.data<char>() + e * one.w.size(), one.w.size());
  std::memcpy(one.wScales.data(), wScales.data<char>() + e * (one.wScales.size() - 64), one.wScales.size() - 64);
  return one;
}

double GemmData::dot(uint64_t row, uint64_t expert, uint64_t o) const {
  uint64_t source = gather.data<int32_t>()[row], perRow = shape.wPitch() / byteWidth(shape.w);
  const float *scales = wScales.data<float>() + (expert * shape.scaleRows() + o / 128) * shape.scalePitch() / 4;
  double sum = 0;
  for (uint64_t block = 0; block < shape.blocks(); ++block) {
    double part = 0;
    for (uint64_t k = block * 128; k < std::min(shape.K, (block + 1) * 128); ++k)
      part += get(shape.x, x.data(), source * shape.pitch() + shape.xOffset + k) *
              get(shape.w, w.data(), (expert * shape.rows() + o) * perRow + k);
    if (shape.scalePitch())
      part *= scales[block];
    if (shape.x == DType::F8E4M3)
      part *= xScales.data<float>()[source * shape.blocks() + block];
    sum += part;
  }
  return sum;
}

std::vector<double> GemmData::expectedRow(uint64_t row) const {
  uint64_t expert = 0;
  if (shape.experts)
    while (offsets.data<int32_t>()[expert + 1] <= int32_t(row))
      ++expert;
  std::vector<double> values(shape.width());
  for (uint64_t o = 0; o < values.size(); ++o) {
    double value = dot(row, expert, o);
    if (shape.bias)
      value += fromBf16(bias.data<uint16_t>()[o]);
    if (shape.swiglu) {
      double up = dot(row, expert, shape.upBegin() + o);
      if (shape.roundParts)
        value = fromBf16(toBf16(float(value))), up = fromBf16(toBf16(float(up)));
      value = value / (1 + std::exp(-value)) * up;
    }
    values[o] = value;
  }
  return values;
}

double GemmData::rowError(uint64_t row) const {
  std::vector<double> expected = expectedRow(row);
  std::vector<float> got = result();
  double error = 0, largest = 1e-30;
  for (uint64_t o = 0; o < expected.size(); ++o) {
    double value = got[row * shape.width() + o];
    error = std::isnan(value) ? INFINITY : std::max(error, std::abs(value - expected[o]));
    largest = std::max(largest, std::abs(expected[o]));
  }
  return error / largest;
}
double GemmData::worstError() const {
  double worst = 0;
  for (uint64_t row = 0; row < rows; ++row)
    worst = std::max(worst, rowError(row));
  return worst;
}
