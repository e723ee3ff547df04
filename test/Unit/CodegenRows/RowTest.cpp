//===- RowTest.cpp - fused row kernels against scalar models and goldens ------===//
// Norms, quantisation, SwiGLU, rope, embedding, append and combine: bit-equal on every level.

#include "OnLevels.h"
#include "ScalarModel.h"
#include <cmath>
#include <llvm/Support/FormatVariadic.h>

using namespace moray::codegen;
using namespace moray::test;

TEST(Row, ActivationQuantiserEqualsGolden) {
  auto golden = readGolden("fp8");
  for (bool pow2 : {false, true}) {
    auto ir = llvm::formatv(R"(cmd.kernel @k row over rows {
      ^bb0(%x: tensor<?x328xf32>):
        %c, %s = lm.quantize %x {{format = #lm<scale_format {0}>} : tensor<?x328xf32> -> tensor<?x328xf8E4M3FN>,
            tensor<?x3xf32>
        lm.yield %c, %s : tensor<?x328xf8E4M3FN>, tensor<?x3xf32>
      })",
                            pow2 ? "ue8m0" : "f32")
                  .str();
    const Golden &codes = golden[pow2 ? "act.ue8m0.codes" : "act.fp32.codes"],
                 &scales = golden[pow2 ? "act.ue8m0.scale" : "act.fp32.scale"];
    size_t rows = golden["act.x"].shape[0];
    onLevels({specOf(ir)}, [&](const KernelRunner &runner) {
      Buffer x = bufferOf(golden["act.x"].f32), c(rows * 328), s(rows * 3 * 4);
      EXPECT_EQ(0u, runner.run(0, {x.data(), c.data(), s.data()}, symbolsOf(rows)));
      EXPECT_EQ(codes.u8, valuesOf<uint8_t>(c, rows * 328));
      EXPECT_EQ(scales.f32, valuesOf<float>(s, rows * 3));
    });
  }
}

TEST(Row, EncoderEqualsGolden) {
  // One element per group: x / s hits every code only through the encoder, so scale the groups to s = 1 by a 448 beside
  // it.
  auto golden = readGolden("fp8");
  const auto &x = golden["enc.x"].f32;
  const auto &codes = golden["enc.code"].u8;
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(codes[i], model::toE4M3(x[i])) << i;
  std::vector<float> rows;
  std::vector<uint8_t> expected;
  for (size_t i = 0; i < x.size(); ++i)
    if (std::fabs(x[i]) <= 448)
      rows.insert(rows.end(), {x[i], 448.0f}), expected.insert(expected.end(), {codes[i], 0x7E});
  auto spec = specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%x: tensor<?x2xf32>):
      %c, %s = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x2xf32> -> tensor<?x2xf8E4M3FN>,
          tensor<?x1xf32>
      lm.yield %c, %s : tensor<?x2xf8E4M3FN>, tensor<?x1xf32>
    })");
  onLevels({spec}, [&](const KernelRunner &runner) {
    Buffer in = bufferOf(rows), c(rows.size()), s(rows.size() * 2);
    EXPECT_EQ(0u, runner.run(0, {in.data(), c.data(), s.data()}, symbolsOf(rows.size() / 2)));
    EXPECT_EQ(expected, valuesOf<uint8_t>(c, rows.size()));
  });
}

TEST(Row, FusedAddNormQuantizeEqualsModel) {
  for (size_t width : {48, 96, 160, 256, 1000}) {
    auto ir = llvm::formatv(R"(cmd.kernel @k row over rows {
      ^bb0(%h: tensor<?x{0}xbf16>, %o: tensor<?x{0}xbf16>, %w: tensor<{0}xbf16>):
        %a = lm.add %h, %o : tensor<?x{0}xbf16>, tensor<?x{0}xbf16> -> tensor<?x{0}xbf16>
        %y = lm.rms_norm %a, %w {{eps = 1.0e-6 : f32} : tensor<?x{0}xbf16>, tensor<{0}xbf16> -> tensor<?x{0}xbf16>
        %c, %s = lm.quantize %y {{format = #lm<scale_format f32>} : tensor<?x{0}xbf16> -> tensor<?x{0}xf8E4M3FN>,
            tensor<?x{1}xf32>
        lm.yield %a, %y, %c, %s : tensor<?x{0}xbf16>, tensor<?x{0}xbf16>, tensor<?x{0}xf8E4M3FN>, tensor<?x{1}xf32>
      })",
                            width, (width + 127) / 128)
                  .str();
    const size_t rows = 5, blocks = (width + 127) / 128;
    Random random(width);
    auto h = model::toBf16(random.normals(rows * width)), o = model::toBf16(random.normals(rows * width, 3)),
         w = model::toBf16(random.normals(width));
    h[width + 3] = 0x8001, h[width * 2 + 1] = 0x0003; // subnormals
    std::vector<float> sums, norms, scales, wide = model::fromBf16(w);
    std::vector<uint8_t> codes;
    for (size_t r = 0; r < rows; ++r) {
      std::vector<float> a;
      for (size_t i = 0; i < width; ++i)
        a.push_back(model::round(model::fromBf16(h[r * width + i]) + model::fromBf16(o[r * width + i]), true));
      auto y = model::rmsNorm(a.data(), wide.data(), width, 1e-6f, true);
      model::quantize(y.data(), width, false, codes, scales);
      sums.insert(sums.end(), a.begin(), a.end()), norms.insert(norms.end(), y.begin(), y.end());
    }
    onLevels({specOf(ir)}, [&](const KernelRunner &runner) {
      Buffer hb = bufferOf(h), ob = bufferOf(o), wb = bufferOf(w), a(rows * width * 2), y(rows * width * 2),
             c(rows * width), s(rows * blocks * 4);
      EXPECT_EQ(0u, runner.run(0, {hb.data(), ob.data(), wb.data(), a.data(), y.data(), c.data(), s.data()},
                               symbolsOf(rows)));
      EXPECT_EQ(model::toBf16(sums), valuesOf<uint16_t>(a, rows * width));
      EXPECT_EQ(model::toBf16(norms), valuesOf<uint16_t>(y, rows * width));
      EXPECT_EQ(codes, valuesOf<uint8_t>(c, rows * width));
      EXPECT_EQ(scales, valuesOf<float>(s, rows * blocks));
    });
  }
}

TEST(Row, NotFiniteRowIsAFaultOfItsLayer) {
  auto spec = specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%h: tensor<?x96xf32>, %w: tensor<96xf32>):
      %y = lm.rms_norm %h, %w {eps = 1.0e-6 : f32} : tensor<?x96xf32>, tensor<96xf32> -> tensor<?x96xf32>
      lm.yield %y : tensor<?x96xf32>
    })");
  onLevels({spec}, [&](const KernelRunner &runner) {
    KernelRunner::Options options;
    options.layer = 6;
    std::vector<float> x(96 * 3, 1.0f);
    x[96 * 2 + 5] = NAN;
    Buffer h = bufferOf(x), w = bufferOf(std::vector<float>(96, 1.0f)), y(96 * 3 * 4);
    EXPECT_EQ(0u, runner.run(0, {h.data(), w.data(), y.data()}, symbolsOf(2), options)); // the bad row is not live
    EXPECT_EQ(7u, runner.run(0, {h.data(), w.data(), y.data()}, symbolsOf(3), options));
  });
}

TEST(Row, RegionsThatNoKernelComputesAreErrors) {
  try {
    specOf(R"(cmd.kernel @k row over rows {
      ^bb0(%x: tensor<?x96xf32>):
        %c, %s = lm.quantize %x {format = #lm<scale_format f32>}
            : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x1xf32>
        lm.yield %s : tensor<?x1xf32>
      })");
    FAIL() << "codes without a place must be refused";
  } catch (const std::runtime_error &error) {
    std::string message = error.what();
    EXPECT_NE(std::string::npos, message.find("E3102: 'lm.quantize' must give its codes")) << message;
  }
}
