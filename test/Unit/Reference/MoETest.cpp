// Routers against test/golden/ops/router, and the grouped form of experts against the textbook form.
#include "OpsGolden.h"

#include <random>

using namespace moray::reference;

namespace {
struct RouterCase {
  std::string name;
  Router router;
};

Router make(RouterMethod method, int64_t groups, int64_t keep, int64_t top, bool normalise, float scale) {
  return {method == RouterMethod::NoauxTc, method, groups, keep, top, normalise, scale};
}

/// ops.json; the family rules are folded in as the importer does (V2 and MoE-16B with norm_topk_prob have scale 1).
std::vector<RouterCase> routerCases() {
  constexpr RouterMethod noaux = RouterMethod::NoauxTc, grouped = RouterMethod::GroupLimitedGreedy,
                         greedy = RouterMethod::Greedy;
  return {{"spec_A", make(noaux, 4, 2, 3, true, 2.5f)},
          {"spec_B", make(noaux, 4, 2, 3, true, 2.5f)},
          {"spec_C", make(noaux, 4, 2, 3, true, 2.5f)},
          {"spec_D", make(grouped, 4, 2, 3, false, 16)},
          {"spec_D_greedy", make(greedy, 1, 1, 3, false, 1)},
          {"v3", make(noaux, 4, 2, 4, true, 2.5f)},
          {"v3_groups_of_2", make(noaux, 4, 2, 3, true, 2.5f)},
          {"v3_groups_of_1", make(noaux, 8, 5, 4, true, 2.5f)},
          {"v3_full", make(noaux, 8, 4, 8, true, 2.5f)},
          {"kimi", make(noaux, 1, 1, 4, true, 2.827f)},
          {"v3_unnormalised", make(noaux, 4, 2, 4, false, 2.5f)},
          {"v2", make(grouped, 8, 3, 4, false, 16)},
          {"v2_normalised", make(grouped, 4, 2, 4, true, 1)},
          {"v2lite", make(greedy, 1, 1, 3, false, 1)},
          {"moe16b", make(greedy, 1, 1, 3, false, 1)},
          {"moe16b_normalised", make(greedy, 1, 1, 3, true, 1)}};
}
} // namespace

TEST(Router, Golden) {
  OpsGolden golden("router");
  for (const RouterCase &test : routerCases()) {
    const Tensor &z = golden[test.name + ".z"], &ids = golden[test.name + ".ids"],
                 &weights = golden[test.name + ".weights"];
    for (int64_t t = 0; t < z.rows(); ++t) {
      Tensor logits(Element::F32, {1, z.width()}), bias(Element::F32, {z.width()});
      std::copy_n(z.row(t), z.width(), logits.row(0));
      if (test.router.method == RouterMethod::NoauxTc)
        std::copy_n(golden[test.name + ".bias"].row(t), z.width(), bias.values.data());
      Routing routing = route(logits, test.router.method == RouterMethod::NoauxTc ? &bias : nullptr, test.router);
      for (int64_t j = 0; j < ids.width(); ++j) {
        EXPECT_EQ(routing.ids.ints[j], ids.intRow(t)[j]) << test.name << " case " << t;
        EXPECT_NEAR(routing.gates.values[j], weights.row(t)[j], 2e-6 * weights.row(t)[j]) << test.name << " case " << t;
      }
      Tensor scores = routerScores(logits, test.router);
      for (int64_t i = 0; i < z.width(); ++i)
        EXPECT_NEAR(scores.values[i], golden[test.name + ".scores"].row(t)[i], 2e-6 * scores.values[i]) << test.name;
    }
  }
}

TEST(Router, GatesOfForcedExperts) {
  OpsGolden golden("router");
  const Tensor &z = golden["v2.z"];
  Router router = make(RouterMethod::GroupLimitedGreedy, 8, 3, 4, false, 16);
  Tensor gates = gatesOf(z, golden["v2.ids"], router);
  EXPECT_LE(maxDifference(gates, golden["v2.weights"]), 2e-6 * 16);
}

namespace {
Tensor randomTensor(Element element, std::vector<int64_t> shape, uint32_t seed) {
  std::mt19937 generator(seed);
  Tensor out(element, std::move(shape));
  for (float &value : out.values)
    value = roundTo(static_cast<double>(generator() >> 8) / (1 << 23) - 1, element);
  return out;
}
} // namespace

TEST(Experts, GroupedFormIsTheSame) {
  constexpr int64_t kRows = 9, kExperts = 5, kTop = 3, kHidden = 160, kWidth = 24;
  for (Element element : {Element::F32, Element::BF16}) {
    Tensor x = randomTensor(element, {kRows, kHidden}, 1), gates = randomTensor(Element::F32, {kRows, kTop}, 2);
    Tensor gate = randomTensor(element, {kExperts, kWidth, kHidden}, 3),
           up = randomTensor(element, {kExperts, kWidth, kHidden}, 4);
    Tensor down = randomTensor(element, {kExperts, kHidden, kWidth}, 5);
    Tensor ids(Element::I32, {kRows, kTop});
    for (int64_t t = 0; t < kRows; ++t)
      for (int64_t j = 0; j < kTop; ++j)
        ids.intRow(t)[j] = (t * t + 2 * j) % kExperts; // expert 3 stays without rows for some t
    Tensor expected = experts(x, ids, gates, {&gate, &up, &down, nullptr, nullptr, nullptr}, Activation::AsRows);
    Dispatch slots = dispatch(ids, gates, kExperts);
    EXPECT_EQ(slots.offsets.ints.back(), kRows * kTop);
    Tensor g = groupedLinear(x, nullptr, &slots.tokens, slots.offsets, gate, nullptr, element);
    Tensor u = groupedLinear(x, nullptr, &slots.tokens, slots.offsets, up, nullptr, element);
    Tensor y = groupedLinear(swiglu(g, u, element), nullptr, nullptr, slots.offsets, down, nullptr, element);
    EXPECT_TRUE(sameBits(combine(y, slots.ranks, slots.gates).values, expected.values));
  }
}

TEST(Experts, DispatchSortsByExpertThenRow) {
  Tensor ids(Element::I32, {2, 2}), gates(Element::F32, {2, 2});
  ids.ints = {2, 0, 1, 2};
  gates.values = {0.1f, 0.2f, 0.3f, 0.4f};
  Dispatch slots = dispatch(ids, gates, 4);
  EXPECT_EQ(slots.offsets.ints, (std::vector<int32_t>{0, 1, 2, 4, 4}));
  EXPECT_EQ(slots.tokens.ints, (std::vector<int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(slots.ranks.ints, (std::vector<int32_t>{0, 2, 1, 3}));
  EXPECT_EQ(slots.gates.values, (std::vector<float>{0.2f, 0.1f, 0.3f, 0.4f}));
}
