//===- RouterTest.cpp - routers and the sorting of slots ----------------------===//
// Every golden router case (ids exact), row dots against the scalar model, and moe.dispatch against a plain sort.

#include "OnLevels.h"
#include "ScalarModel.h"
#include <algorithm>
#include <cmath>
#include <fstream>
#include <llvm/Support/FormatVariadic.h>
#include <nlohmann/json.hpp>

using namespace moray::codegen;
using namespace moray::test;

namespace {
struct RouterCase {
  std::string method, scoring;
  int experts, groups = 1, keep = 1, top;
  bool normalise = false;
  double scale = 1;
};
} // namespace

/// A router whose hidden size is the number of experts: with an identity weight the row is its own logits.
static KernelSpec routerSpec(const RouterCase &c, bool bias, int hidden, const char *type) {
  return specOf(
      llvm::formatv(R"(cmd.kernel @k router over rows {
    ^bb0(%x: tensor<?x{0}x{1}>, %w: tensor<{2}x{0}x{1}>{3}):
      %ids, %g = moe.route %x, %w {4} {{router = #moe.router<{5}, {6}, groups = {7}, keep = {8}, top = {9},
          normalise = {10}, scale = {11:f6} : f32>}
        : (tensor<?x{0}x{1}>, tensor<{2}x{0}x{1}>{12}) -> (tensor<?x{9}xi32>, tensor<?x{9}xf32>)
      lm.yield %ids, %g : tensor<?x{9}xi32>, tensor<?x{9}xf32>
    })",
                    hidden, type, c.experts, bias ? llvm::formatv(", %b: tensor<{0}xf32>", c.experts).str() : "",
                    bias ? "bias %b" : "", c.scoring, c.method, c.groups, c.keep, c.top, c.normalise ? "true" : "false",
                    c.scale, bias ? llvm::formatv(", tensor<{0}xf32>", c.experts).str() : "")
          .str());
}

/// The weight [experts, experts] with padded rows that copies the row.
static std::vector<float> identity(size_t experts) {
  size_t pitch = (experts + 15) / 16 * 16;
  std::vector<float> w(experts * pitch);
  for (size_t e = 0; e < experts; ++e)
    w[e * pitch + e] = 1;
  return w;
}

static void checkCase(const std::string &name, const RouterCase &c, std::map<std::string, Golden> &golden) {
  SCOPED_TRACE(name);
  Golden &z = golden[name + ".z"], &ids = golden[name + ".ids"], &weights = golden[name + ".weights"];
  bool bias = golden.count(name + ".bias");
  size_t rows = z.shape[0], top = ids.shape[1];
  onLevels({routerSpec(c, bias, c.experts, "f32")}, [&](const KernelRunner &runner) {
    for (size_t r = 0; r < rows; ++r) {
      Buffer x = bufferOf(std::vector<float>(z.f32.begin() + r * c.experts, z.f32.begin() + (r + 1) * c.experts));
      Buffer w = bufferOf(identity(c.experts)), i(top * 4), g(top * 4);
      std::vector<void *> operands = {x.data(), w.data()};
      Buffer b(c.experts * 4);
      if (bias) {
        std::memcpy(b.data(), golden[name + ".bias"].f32.data() + r * c.experts, c.experts * 4);
        operands.push_back(b.data());
      }
      operands.insert(operands.end(), {i.data(), g.data()});
      EXPECT_EQ(0u, runner.run(0, operands, symbolsOf(1)));
      for (size_t k = 0; k < top; ++k) {
        EXPECT_EQ(ids.i32[r * top + k], i.data<int32_t>()[k]) << "row " << r << " place " << k;
        EXPECT_NEAR(weights.f32[r * top + k], g.data<float>()[k], 2e-6 * std::fabs(weights.f32[r * top + k]))
            << "row " << r;
      }
    }
  });
}

TEST(Router, GoldenCases) {
  auto golden = readGolden("router");
  std::ifstream file(MORAY_BINARY_DIR "/test/golden/ops/ops.json");
  auto cases = nlohmann::json::parse(file)["router"]["cases"];
  int checked = 0;
  for (auto &[name, j] : cases.items()) {
    if (!j.contains("method"))
      continue;
    RouterCase c{j["method"], j["method"] == "noaux_tc" ? "sigmoid" : "softmax", j["E"], j["G"], j["Kg"], j["K"]};
    // The importer's folding of the family rules (model.md 4.9.4).
    c.normalise = bool(j["norm_topk_prob"]) && c.top > 1;
    std::string family = j["family"];
    c.scale = family == "moe16b" || (family == "v2" && c.normalise) ? 1.0 : double(j["routed_scaling_factor"]);
    checkCase(name, c, golden);
    ++checked;
  }
  EXPECT_GE(checked, 5);
  RouterCase a{"noaux_tc", "sigmoid", 8, 4, 2, 3, true, 2.5},
      d{"group_limited_greedy", "softmax", 8, 4, 2, 3, false, 16.0},
      greedy{"greedy", "softmax", 8, 1, 1, 3, false, 1.0};
  for (const char *name : {"spec_A", "spec_B", "spec_C"})
    checkCase(name, a, golden);
  checkCase("spec_D", d, golden);
  checkCase("spec_D_greedy", greedy, golden);
}

TEST(Router, RowDotsEqualModel) {
  const size_t hidden = 300, experts = 5, rows = 6, pitch = 320;
  RouterCase c{"noaux_tc", "sigmoid", experts, 1, 1, experts};
  Random random(11);
  auto x = model::toBf16(random.normals(rows * hidden));
  std::vector<uint16_t> w(experts * pitch);
  for (size_t e = 0; e < experts; ++e)
    for (size_t i = 0; i < hidden; ++i)
      w[e * pitch + i] = model::toBf16(random.normal() * 0.1f);
  auto xf = model::fromBf16(x), wf = model::fromBf16(w);
  onLevels({routerSpec(c, true, hidden, "bf16")}, [&](const KernelRunner &runner) {
    Buffer xb = bufferOf(x), wb = bufferOf(w), bias(experts * 4), ids(rows * experts * 4), gates(rows * experts * 4);
    EXPECT_EQ(0u, runner.run(0, {xb.data(), wb.data(), bias.data(), ids.data(), gates.data()}, symbolsOf(rows)));
    for (size_t r = 0; r < rows; ++r)
      for (size_t k = 0; k < experts; ++k) {
        int32_t e = ids.data<int32_t>()[r * experts + k];
        EXPECT_EQ(model::sigmoid(model::rowDot(&xf[r * hidden], &wf[e * pitch], hidden)),
                  gates.data<float>()[r * experts + k]);
      }
    xb.data<uint16_t>()[7] = 0x7FC0; // NaN
    EXPECT_EQ(1u, runner.run(0, {xb.data(), wb.data(), bias.data(), ids.data(), gates.data()}, symbolsOf(rows)));
    for (size_t i = 0; i < rows * experts; ++i)
      EXPECT_LT(ids.data<uint32_t>()[i], experts); // a faulty row still names experts that exist
  });
}

TEST(Permute, SortsLiveSlotsByExpertThenRow) {
  const size_t experts = 7, top = 3;
  auto spec = specOf(R"(cmd.kernel @k permute over rows {
    ^bb0(%i: tensor<?x3xi32>, %g: tensor<?x3xf32>):
      %o, %t, %r, %s = moe.dispatch %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> tensor<8xi32>, tensor<?xi32>,
          tensor<?x3xi32>, tensor<?x3xf32>
      lm.yield %o, %t, %r, %s : tensor<8xi32>, tensor<?xi32>, tensor<?x3xi32>, tensor<?x3xf32>
    })");
  for (size_t rows : {0, 1, 40}) {
    Random random(rows);
    std::vector<int32_t> ids;
    for (size_t r = 0; r < rows; ++r) {
      std::vector<int32_t> all = {0, 1, 2, 3, 4, 6}; // nobody chooses expert 5
      for (size_t k = 0; k < top; ++k)
        std::swap(all[k], all[k + random.bits() % (all.size() - k)]);
      ids.insert(ids.end(), all.begin(), all.begin() + top);
    }
    auto gates = random.normals(rows * top);
    std::vector<int32_t> offsets{0}, tokens, ranks(rows * top);
    std::vector<float> sorted(rows * top);
    for (size_t e = 0; e < experts; ++e) {
      for (size_t i = 0; i < rows * top; ++i) {
        if (ids[i] != int32_t(e))
          continue;
        size_t row = i / top, place = std::count_if(&ids[row * top], &ids[row * top] + top,
                                                    [&](int32_t other) { return other < ids[i]; });
        ranks[row * top + place] = tokens.size(), sorted[row * top + place] = gates[i];
        tokens.push_back(row);
      }
      offsets.push_back(tokens.size());
    }
    onLevels({spec}, [&](const KernelRunner &runner) {
      Buffer i = bufferOf(ids), g = bufferOf(gates), o(32), t(rows * top * 4), r(rows * top * 4), s(rows * top * 4);
      EXPECT_EQ(0u, runner.run(0, {i.data(), g.data(), o.data(), t.data(), r.data(), s.data()}, symbolsOf(rows)));
      EXPECT_EQ(offsets, valuesOf<int32_t>(o, 8));
      EXPECT_EQ(tokens, valuesOf<int32_t>(t, rows * top));
      EXPECT_EQ(ranks, valuesOf<int32_t>(r, rows * top));
      EXPECT_EQ(sorted, valuesOf<float>(s, rows * top));
    });
  }
}
