//===- RowOpsTest.cpp - every row op against models and goldens ---------------===//
// Rope and its table, SwiGLU, norms, embedding, gathering, slices, append to the cache, combine; fused equals unfused.

#include "OnLevels.h"
#include "ScalarModel.h"
#include <cmath>
#include <fstream>
#include <llvm/Support/FormatVariadic.h>
#include <nlohmann/json.hpp>

using namespace moray::codegen;
using namespace moray::test;

static std::string list(const std::vector<float> &values) {
  std::string text;
  for (float v : values)
    text += (text.empty() ? "" : ", ") + llvm::formatv("{0:e9}", v).str();
  return text;
}

TEST(RowOps, NormsEqualGolden) {
  auto golden = readGolden("norm_mlp");
  for (size_t width : {96, 128, 320})
    for (std::string eps : {"1e-06", "1e-05"}) {
      std::string name = "rms." + std::to_string(width);
      auto spec = specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
        ^bb0(%h: tensor<?x{0}xf32>, %w: tensor<{0}xf32>):
          %y = lm.rms_norm %h, %w {{eps = {1} : f32} : tensor<?x{0}xf32>, tensor<{0}xf32> -> tensor<?x{0}xf32>
          lm.yield %y : tensor<?x{0}xf32>
        })",
                                       width, eps == "1e-06" ? "1.0e-06" : "1.0e-05")
                             .str());
      auto &x = golden[name + ".x"].f32, &w = golden[name + ".w"].f32, &y = golden[name + ".y_eps" + eps].f32;
      onLevels({spec}, [&](const KernelRunner &runner) {
        Buffer xb = bufferOf(x), wb = bufferOf(w), out(x.size() * 4);
        EXPECT_EQ(0u, runner.run(0, {xb.data(), wb.data(), out.data()}, symbolsOf(x.size() / width)));
        for (size_t r = 0; r < x.size() / width; ++r) {
          double square = 0;
          for (size_t i = 0; i < width; ++i)
            square += double(y[r * width + i]) * y[r * width + i];
          auto model = model::rmsNorm(&x[r * width], w.data(), width, std::stof(eps), false);
          for (size_t i = 0; i < width; ++i) {
            EXPECT_EQ(model[i], out.data<float>()[r * width + i]);
            EXPECT_NEAR(y[r * width + i], out.data<float>()[r * width + i], 1e-6 * std::sqrt(square / width));
          }
        }
      });
    }
}

TEST(RowOps, SwigluEqualsGoldenAndModel) {
  auto golden = readGolden("norm_mlp");
  auto &gate = golden["swiglu.gate"].f32, &up = golden["swiglu.up"].f32, &y = golden["swiglu.y"].f32;
  auto spec = specOf(R"(cmd.kernel @k row over slots of 4 {
    ^bb0(%x: tensor<?x512xf32>, %o: tensor<9xi32>):
      %g = lm.slice %x[0] : tensor<?x512xf32> -> tensor<?x256xf32>
      %u = lm.slice %x[256] : tensor<?x512xf32> -> tensor<?x256xf32>
      %y = lm.swiglu %g, %u : tensor<?x256xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
      lm.yield %y : tensor<?x256xf32>
    })");
  std::vector<float> x;
  for (int row = 0; row < 8; ++row)
    x.insert(x.end(), gate.begin(), gate.end()), x.insert(x.end(), up.begin(), up.end());
  onLevels({spec}, [&](const KernelRunner &runner) {
    // Seven slots that came from a rank with more rows; nothing is read of the eighth, nor of this rank's only row.
    Buffer xb = bufferOf(x), out(8 * 256 * 4), offsets = bufferOf(std::vector<int32_t>{0, 0, 3, 3, 4, 4, 4, 4, 7});
    SymbolValues symbols = symbolsOf(1);
    symbols[size_t(moray::codegen::Symbol::ReceivedRows)] = 40;
    EXPECT_EQ(0u, runner.run(0, {xb.data(), offsets.data(), out.data()}, symbols));
    EXPECT_EQ(0.0f, out.data<float>()[7 * 256]);
    for (size_t i = 0; i < 7 * 256; ++i) {
      float got = out.data<float>()[i], want = y[i % 256];
      EXPECT_EQ(model::silu(gate[i % 256]) * up[i % 256], got);
      EXPECT_NEAR(want, got, std::max(2e-6 * std::fabs(want), 1e-37)) << gate[i % 256];
    }
  });
}

TEST(RowOps, RopeTablesAndRotationsEqualGolden) {
  auto golden = readGolden("rope");
  std::ifstream file(MORAY_BINARY_DIR "/test/golden/ops/ops.json");
  auto configs = nlohmann::json::parse(file)["rope"]["configs"];
  for (auto &entry : configs.items()) {
    const std::string name = entry.key();
    const auto &config = entry.value();
    SCOPED_TRACE(name);
    if (!golden.count(name + ".inv_freq") || !golden.count(name + ".x"))
      continue;
    auto &inv = golden[name + ".inv_freq"].f32, &x = golden[name + ".x"].f32;
    auto &positions = golden.count("positions") ? golden["positions"].i32 : golden[name + ".positions"].i32;
    size_t width = inv.size() * 2, rows = positions.size();
    for (bool half : {false, true}) {
      auto spec = specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
        ^bb0(%r: !lm.rows, %x: tensor<?x{0}xf32>):
          %c, %s = lm.rope_table %r {{inv_freq = array<f32: {1}>, multiplier = {2:e9} : f32} : tensor<?x{3}xf32>,
              tensor<?x{3}xf32>
          %y = lm.rope %x, %c, %s {{head_dim = {0} : i64, layout = #lm<rope_layout {4}>} : tensor<?x{0}xf32>,
              tensor<?x{3}xf32>, tensor<?x{3}xf32> -> tensor<?x{0}xf32>
          lm.yield %c, %s, %y : tensor<?x{3}xf32>, tensor<?x{3}xf32>, tensor<?x{0}xf32>
        })",
                                       width, list(inv), config["multiplier"].get<double>(), width / 2,
                                       half ? "half_split" : "interleaved")
                             .str());
      onLevels({spec}, [&](const KernelRunner &runner) {
        Buffer p = bufferOf(positions), xb = bufferOf(x), c(x.size() * 2), s(x.size() * 2), y(x.size() * 4);
        EXPECT_EQ(
            0u,
            runner.run(0, {p.data(), p.data(), p.data(), p.data(), p.data(), xb.data(), c.data(), s.data(), y.data()},
                       symbolsOf(rows)));
        auto &cos = golden[name + ".cos"].f32, &sin = golden[name + ".sin"].f32;
        auto &rotated = golden[name + (half ? ".half_split" : ".interleaved")].f32;
        ASSERT_EQ(x.size(), rotated.size());
        for (size_t i = 0; i < x.size() / 2; ++i) {
          EXPECT_NEAR(cos[i], c.data<float>()[i], 1e-6);
          EXPECT_NEAR(sin[i], s.data<float>()[i], 1e-6);
        }
        for (size_t i = 0; i < x.size(); ++i)
          EXPECT_NEAR(rotated[i], y.data<float>()[i], 2e-6 * (1 + std::fabs(x[i])) * 4);
      });
    }
  }
}

TEST(RowOps, RopeRotatesTheEndOfEveryHead) {
  const size_t heads = 3, dim = 42, half = 5, rows = 4, width = heads * dim;
  auto spec = specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%x: tensor<?x126xbf16>, %c: tensor<?x5xf32>, %s: tensor<?x5xf32>):
      %y = lm.rope %x, %c, %s {head_dim = 42 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x126xbf16>,
          tensor<?x5xf32>, tensor<?x5xf32> -> tensor<?x126xbf16>
      lm.yield %y : tensor<?x126xbf16>
    })");
  Random random(8);
  auto x = model::toBf16(random.normals(rows * width));
  auto c = random.normals(rows * half), s = random.normals(rows * half), f = model::fromBf16(x);
  std::vector<uint16_t> expected = x;
  for (size_t r = 0; r < rows; ++r)
    for (size_t h = 0; h < heads; ++h)
      for (size_t i = 0; i < half; ++i) {
        size_t at = r * width + h * dim + dim - 2 * half + 2 * i;
        float cos = c[r * half + i], sin = s[r * half + i], ac = f[at] * cos, bs = f[at + 1] * sin, as = f[at] * sin,
              bc = f[at + 1] * cos;
        volatile float even = ac - bs, odd = as + bc;
        expected[at] = model::toBf16(even), expected[at + 1] = model::toBf16(odd);
      }
  onLevels({spec}, [&](const KernelRunner &runner) {
    Buffer xb = bufferOf(x), cb = bufferOf(c), sb = bufferOf(s), y(x.size() * 2);
    EXPECT_EQ(0u, runner.run(0, {xb.data(), cb.data(), sb.data(), y.data()}, symbolsOf(rows)));
    EXPECT_EQ(expected, valuesOf<uint16_t>(y, x.size()));
  });
}

TEST(RowOps, EmbedGatherAndCasts) {
  auto embed = specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%t: tensor<?xi32>, %w: tensor<9x40xbf16>, %n: tensor<40xbf16>):
      %h = lm.embed %t, %w : tensor<?xi32>, tensor<9x40xbf16> -> tensor<?x40xf32>
      %b = lm.cast %h : tensor<?x40xf32> -> tensor<?x40xbf16>
      %y = lm.rms_norm %h, %n {eps = 1.0e-6 : f32} : tensor<?x40xf32>, tensor<40xbf16> -> tensor<?x40xf32>
      lm.yield %h, %b, %y : tensor<?x40xf32>, tensor<?x40xbf16>, tensor<?x40xf32>
    })");
  auto gather = specOf(R"(cmd.kernel @k row over outs {
    ^bb0(%h: tensor<?x40xf32>, %o: tensor<?xi32>):
      %y = lm.gather_rows %h, %o : tensor<?x40xf32>, tensor<?xi32> -> tensor<?x40xf32>
      lm.yield %y : tensor<?x40xf32>
    })");
  Random random(12);
  const size_t pitch = 64; // 80 bytes are padded to 128
  auto table = model::toBf16(random.normals(9 * pitch)), norm = model::toBf16(random.normals(40));
  std::vector<int32_t> tokens = {8, 0, 3, 3};
  onLevels({embed, gather}, [&](const KernelRunner &runner) {
    Buffer t = bufferOf(tokens), w = bufferOf(table), n = bufferOf(norm), h(4 * 160), b(4 * 80), y(4 * 160), g(2 * 160);
    EXPECT_EQ(0u, runner.run(0, {t.data(), w.data(), n.data(), h.data(), b.data(), y.data()}, symbolsOf(4)));
    std::vector<float> wide = model::fromBf16(table), normWide = model::fromBf16(norm);
    for (size_t r = 0; r < 4; ++r) {
      const float *source = &wide[tokens[r] * pitch];
      EXPECT_EQ(std::vector<float>(source, source + 40),
                std::vector<float>(h.data<float>() + r * 40, h.data<float>() + r * 40 + 40));
      EXPECT_EQ(model::rmsNorm(source, normWide.data(), 40, 1e-6f, false),
                std::vector<float>(y.data<float>() + r * 40, y.data<float>() + r * 40 + 40));
      EXPECT_EQ(table[tokens[r] * pitch + 39], b.data<uint16_t>()[r * 40 + 39]);
    }
    std::vector<int32_t> outs = {3, 1};
    Buffer o = bufferOf(outs);
    EXPECT_EQ(0u, runner.run(1, {h.data(), o.data(), g.data()}, symbolsOf(4, 0, 2)));
    EXPECT_EQ(0, std::memcmp(g.data<char>(), h.data<char>() + 3 * 160, 160));
    EXPECT_EQ(0, std::memcmp(g.data<char>() + 160, h.data<char>() + 160, 160));
  });
}

TEST(RowOps, NormRopeAndAppendFillTheCache) {
  const size_t rows = 3, latent = 96, rope = 16, width = 160 + latent + rope;
  auto spec = specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%t: tensor<?x272xbf16>, %wq: tensor<160xbf16>, %wz: tensor<96xbf16>, %c: tensor<?x8xf32>,
        %s: tensor<?x8xf32>, %r: !lm.rows, %kv: !mla.layer_cache<96, 16, page = 64, bf16>):
      %q = lm.slice %t[0] : tensor<?x272xbf16> -> tensor<?x160xbf16>
      %qn = lm.rms_norm %q, %wq {eps = 1.0e-6 : f32} : tensor<?x160xbf16>, tensor<160xbf16> -> tensor<?x160xbf16>
      %z = lm.slice %t[160] : tensor<?x272xbf16> -> tensor<?x96xbf16>
      %zn = lm.rms_norm %z, %wz {eps = 1.0e-6 : f32} : tensor<?x96xbf16>, tensor<96xbf16> -> tensor<?x96xbf16>
      %k = lm.slice %t[256] : tensor<?x272xbf16> -> tensor<?x16xbf16>
      %kr = lm.rope %k, %c, %s {head_dim = 16 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x16xbf16>,
          tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x16xbf16>
      mla.append %kv, %r, %zn, %kr : !mla.layer_cache<96, 16, page = 64, bf16>, tensor<?x96xbf16>, tensor<?x16xbf16>
      lm.yield %qn : tensor<?x160xbf16>
    })");
  Random random(21);
  auto t = model::toBf16(random.normals(rows * width)), wq = model::toBf16(random.normals(160)),
       wz = model::toBf16(random.normals(latent));
  std::vector<float> c(rows * 8, 1.0f), s(rows * 8, 0.0f), wide = model::fromBf16(t), wqf = model::fromBf16(wq),
                                                           wzf = model::fromBf16(wz);
  std::vector<int32_t> positions = {70, 71, 5}, sequences = {0, 0, 1}, pages(2 * 64, -1);
  pages[1] = 2, pages[64] = 1; // sequence 0, block 1 and sequence 1, block 0; symbolsOf has 64 pages per sequence
  onLevels({spec}, [&](const KernelRunner &runner) {
    Buffer tb = bufferOf(t), q = bufferOf(wq), z = bufferOf(wz), cb = bufferOf(c), sb = bufferOf(s),
           p = bufferOf(positions), sq = bufferOf(sequences), pt = bufferOf(pages), cache(3 * 64 * (latent + rope) * 2),
           out(rows * 160 * 2);
    EXPECT_EQ(0u, runner.run(0,
                             {tb.data(), q.data(), z.data(), cb.data(), sb.data(), p.data(), sq.data(), p.data(),
                              pt.data(), p.data(), cache.data(), out.data()},
                             symbolsOf(rows)));
    const size_t slots[] = {2 * 64 + 6, 2 * 64 + 7, 64 + 5};
    std::vector<uint16_t> expected(3 * 64 * (latent + rope));
    for (size_t r = 0; r < rows; ++r) {
      auto zn = model::toBf16(model::rmsNorm(&wide[r * width + 160], wzf.data(), latent, 1e-6f, true));
      std::copy(zn.begin(), zn.end(), &expected[slots[r] * (latent + rope)]);
      std::copy_n(&t[r * width + 256], rope, &expected[slots[r] * (latent + rope) + latent]);
      auto qn = model::toBf16(model::rmsNorm(&wide[r * width], wqf.data(), 160, 1e-6f, true));
      EXPECT_EQ(qn, std::vector<uint16_t>(out.data<uint16_t>() + r * 160, out.data<uint16_t>() + r * 160 + 160));
    }
    EXPECT_EQ(expected, valuesOf<uint16_t>(cache, expected.size()));
  });
}

TEST(RowOps, CombineAddsInOrderAndFusedEqualsUnfused) {
  const size_t rows = 4, top = 3, width = 200;
  const char *types = "tensor<?x200xbf16>, tensor<?x3xi32>, tensor<?x3xf32>";
  auto fused = specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
    ^bb0(%y: tensor<?x200xbf16>, %r: tensor<?x3xi32>, %g: tensor<?x3xf32>, %s: tensor<?x200xbf16>,
        %h: tensor<?x200xbf16>, %w: tensor<200xbf16>):
      %m = moe.combine %y, %r, %g : {0} -> tensor<?x200xf32>
      %f = lm.add %m, %s : tensor<?x200xf32>, tensor<?x200xbf16> -> tensor<?x200xbf16>
      %a = lm.add %h, %f : tensor<?x200xbf16>, tensor<?x200xbf16> -> tensor<?x200xbf16>
      %n = lm.rms_norm %a, %w {{eps = 1.0e-6 : f32} : tensor<?x200xbf16>, tensor<200xbf16> -> tensor<?x200xbf16>
      lm.yield %n : tensor<?x200xbf16>
    })",
                                    types)
                          .str());
  auto combine = specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
    ^bb0(%y: tensor<?x200xbf16>, %r: tensor<?x3xi32>, %g: tensor<?x3xf32>):
      %m = moe.combine %y, %r, %g : {0} -> tensor<?x200xf32>
      lm.yield %m : tensor<?x200xf32>
    })",
                                      types)
                            .str());
  Random random(31);
  auto y = model::toBf16(random.normals(rows * top * width)), s = model::toBf16(random.normals(rows * width)),
       h = model::toBf16(random.normals(rows * width)), w = model::toBf16(random.normals(width));
  auto gates = random.normals(rows * top);
  std::vector<int32_t> ranks;
  for (size_t i = 0; i < rows * top; ++i)
    ranks.push_back(i * 5 % (rows * top));
  std::vector<float> sums;
  std::vector<uint16_t> expected;
  for (size_t r = 0; r < rows; ++r) {
    std::vector<float> a;
    for (size_t i = 0; i < width; ++i) {
      volatile float sum = 0;
      for (size_t j = 0; j < top; ++j) {
        volatile float term = gates[r * top + j] * model::fromBf16(y[ranks[r * top + j] * width + i]);
        sum = sum + term;
      }
      sums.push_back(float(sum));
      float f = model::round(sum + model::fromBf16(s[r * width + i]), true);
      a.push_back(model::round(model::fromBf16(h[r * width + i]) + f, true));
    }
    auto n = model::toBf16(model::rmsNorm(a.data(), model::fromBf16(w).data(), width, 1e-6f, true));
    expected.insert(expected.end(), n.begin(), n.end());
  }
  onLevels({fused, combine}, [&](const KernelRunner &runner) {
    Buffer yb = bufferOf(y), rb = bufferOf(ranks), gb = bufferOf(gates), sb = bufferOf(s), hb = bufferOf(h),
           wb = bufferOf(w), n(rows * width * 2), m(rows * width * 4);
    EXPECT_EQ(0u, runner.run(0, {yb.data(), rb.data(), gb.data(), sb.data(), hb.data(), wb.data(), n.data()},
                             symbolsOf(rows)));
    EXPECT_EQ(expected, valuesOf<uint16_t>(n, rows * width));
    EXPECT_EQ(0u, runner.run(1, {yb.data(), rb.data(), gb.data(), m.data()}, symbolsOf(rows)));
    EXPECT_EQ(sums, valuesOf<float>(m, rows * width));
  });
}
