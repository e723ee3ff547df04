//===- GemmGoldenTest.cpp - FP8 products against the golden vectors -----------===//
// golden/ops/fp8.safetensors: FP8 x FP8 (spec fp8.md 5.1) and weight-only products, with fp32 and power-of-two scales.

#include "GemmCase.h"
#include "frontend/Safetensors.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
struct Golden {
  moray::frontend::SafetensorsFile file =
      std::move(*moray::frontend::SafetensorsFile::open(MORAY_BINARY_DIR "/test/golden/ops/fp8.safetensors"));
  template <typename T> std::vector<T> read(const std::string &name) {
    const moray::frontend::TensorInfo *tensor = file.find(name);
    if (!tensor)
      throw std::runtime_error("no tensor " + name);
    std::vector<T> values(tensor->bytes() / sizeof(T));
    if (!file.read(*tensor, 0, values.data(), tensor->bytes()))
      throw std::runtime_error("cannot read " + name);
    return values;
  }
};

struct Case {
  const char *name, *scales;
  uint64_t rows, O, K;
};
} // namespace

/// Nearest E4M3 code, ties to even, saturating.
static uint8_t encode(float value) {
  uint8_t best = 0;
  for (int code = 1; code < 127; ++code) {
    float d = std::abs(std::abs(value) - fromF8(uint8_t(code))), previous = std::abs(std::abs(value) - fromF8(best));
    if (d < previous || (d == previous && code % 2 == 0))
      best = uint8_t(code);
  }
  return std::signbit(value) ? best | 0x80 : best;
}

/// Codes and scales of 1x128 groups (spec fp8.md 4).
static void quantise(const std::vector<float> &a, const Case &c, bool powerOfTwo, uint8_t *codes, float *scales) {
  uint64_t blocks = (c.K + 127) / 128;
  for (uint64_t row = 0; row < c.rows; ++row)
    for (uint64_t block = 0; block < blocks; ++block) {
      float amax = 1e-4f;
      for (uint64_t k = block * 128; k < std::min(c.K, block * 128 + 128); ++k)
        amax = std::max(amax, std::abs(a[row * c.K + k]));
      float s = amax / 448;
      if (powerOfTwo) {
        int exponent;
        float fraction = std::frexp(s, &exponent);
        s = std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : exponent);
      }
      scales[row * blocks + block] = s;
      for (uint64_t k = block * 128; k < std::min(c.K, block * 128 + 128); ++k)
        codes[row * c.K + k] = encode(a[row * c.K + k] / s);
    }
}

/// Runs the product on the golden weights; `f8Rows`: rows are quantised first.
static std::vector<float> product(Golden &golden, const Case &c, CpuLevel level, bool f8Rows) {
  std::string weights = std::string("w.") + c.name + "." + c.scales, prefix = std::string("gemm.") + c.name;
  GemmShape shape;
  shape.x = f8Rows ? DType::F8E4M3 : DType::F32, shape.w = DType::F8E4M3, shape.out = DType::F32, shape.O = c.O,
  shape.K = c.K;
  std::vector<float> a = golden.read<float>(prefix + ".a"), scales = golden.read<float>(weights + ".scale_inv");
  std::vector<uint8_t> codes = golden.read<uint8_t>(weights + ".codes");
  Buffer x(c.rows * c.K * 4), xScales(c.rows * shape.blocks() * 4), w(c.O * shape.wPitch()),
      s(shape.scaleRows() * shape.scalePitch()), out(c.rows * c.O * 4);
  if (f8Rows)
    quantise(a, c, std::string(c.scales) == "ue8m0", x.data<uint8_t>(), xScales.data<float>());
  else
    std::memcpy(x.data(), a.data(), a.size() * 4);
  for (uint64_t o = 0; o < c.O; ++o)
    std::memcpy(w.data<char>() + o * shape.wPitch(), &codes[o * c.K], c.K);
  for (uint64_t row = 0; row < shape.scaleRows(); ++row)
    std::memcpy(s.data<char>() + row * shape.scalePitch(), &scales[row * shape.blocks()], shape.blocks() * 4);
  KernelRunner runner({shape.spec()}, level);
  runner.run(0, {x.data(), xScales.data(), w.data(), s.data(), nullptr, nullptr, nullptr, out.data()},
             symbolsOf(c.rows));
  return std::vector<float>(out.data<float>(), out.data<float>() + c.rows * c.O);
}

/// max |d| / rms(reference), and the similarity difference of spec fp8.md 5.3.
static std::pair<double, double> compare(const std::vector<float> &got, const std::vector<float> &reference) {
  double worst = 0, xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    double x = got[i], y = reference[i];
    worst = std::max(worst, std::abs(x - y));
    xy += x * y, xx += x * x, yy += y * y;
  }
  return {worst / std::sqrt(yy / double(got.size())), 1 - 2 * xy / (xx + yy)};
}

TEST(GemmGolden, Fp8Products) {
  Golden golden;
  for (CpuLevel level : hostLevels())
    for (const Case &c : {Case{"random", "fp32", 5, 200, 264}, Case{"random", "ue8m0", 5, 200, 264},
                          Case{"spec", "fp32", 1, 130, 200}, Case{"spec", "ue8m0", 1, 130, 200}}) {
      SCOPED_TRACE(std::string(c.name) + "." + c.scales);
      std::string prefix = std::string("gemm.") + c.name + "." + c.scales;
      auto [fp8, fp8Similarity] = compare(product(golden, c, level, true), golden.read<float>(prefix + ".y_fp8"));
      EXPECT_LT(fp8, 2e-6); // the specification allows 2e-3
      EXPECT_LT(std::abs(fp8Similarity), 1e-6);
      auto [wide, wideSimilarity] = compare(product(golden, c, level, false), golden.read<float>(prefix + ".y_w32"));
      EXPECT_LT(wide, 2e-6);
      EXPECT_LT(std::abs(wideSimilarity), 1e-6);
    }
}

TEST(GemmGolden, PowerOfTwoScalesAreExact) {
  // In this case all data are exactly representable: any indexing mistake in the scales shows as a wrong value, not as
  // noise.
  Golden golden;
  Case c{"spec", "ue8m0", 1, 130, 200};
  std::vector<float> expected = golden.read<float>("gemm.spec.ue8m0.y_fp8");
  for (CpuLevel level : hostLevels()) {
    EXPECT_EQ(expected, product(golden, c, level, true));
    EXPECT_EQ(expected, product(golden, c, level, false));
  }
}
