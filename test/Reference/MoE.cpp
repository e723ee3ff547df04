// Routers and experts, textbook and grouped (spec model.md 4.9, 4.10).
#include "test/Reference/Ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moray::reference;

//===----------------------------------------------------------------------===//
// Routers
//===----------------------------------------------------------------------===//

Tensor moray::reference::routerLogits(const Tensor &source, const Tensor &weight) {
  return linear(source, nullptr, Matrix::of(weight, nullptr), nullptr, Element::F32);
}

Tensor moray::reference::routerScores(const Tensor &logits, const Router &router) {
  Tensor scores(Element::F32, logits.shape);
  int64_t count = logits.width();
  for (int64_t t = 0; t < logits.rows(); ++t) {
    const float *z = logits.row(t);
    double max = *std::max_element(z, z + count), sum = 0;
    for (int64_t i = 0; i < count; ++i)
      sum += std::exp(z[i] - max);
    for (int64_t i = 0; i < count; ++i)
      scores.row(t)[i] = static_cast<float>(router.sigmoid ? 1 / (1 + std::exp(-static_cast<double>(z[i])))
                                                           : std::exp(z[i] - max) / sum);
  }
  return scores;
}

/// The `count` largest of the candidates: larger values first, smaller indices on ties (spec model.md 0.2).
static std::vector<int32_t> largest(const std::vector<float> &values, std::vector<int32_t> candidates, int64_t count) {
  std::sort(candidates.begin(), candidates.end(),
            [&](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  candidates.resize(count);
  return candidates;
}

static std::vector<int32_t> indices(int64_t count) {
  std::vector<int32_t> result(count);
  std::iota(result.begin(), result.end(), 0);
  return result;
}

/// Experts of one row from the values that decide (scores, or biased scores).
static std::vector<int32_t> selectExperts(const std::vector<float> &values, const Router &router) {
  int64_t groupSize = values.size() / router.groups;
  std::vector<float> groupScores;
  for (int64_t group = 0; group < router.groups; ++group) {
    std::vector<float> members(values.begin() + group * groupSize, values.begin() + (group + 1) * groupSize);
    std::sort(members.begin(), members.end(), std::greater<float>());
    bool twoBest = router.method == RouterMethod::NoauxTc && groupSize > 1;
    groupScores.push_back(twoBest ? members[0] + members[1] : members[0]);
  }
  std::vector<int32_t> candidates;
  for (int32_t group : largest(groupScores, indices(router.groups), router.keep))
    for (int64_t i = 0; i < groupSize; ++i)
      candidates.push_back(group * groupSize + i);
  std::sort(candidates.begin(), candidates.end());
  return largest(values, candidates, router.top);
}

static void writeGates(const float *scores, const int32_t *ids, const Router &router, float *gates) {
  float sum = 0;
  for (int64_t j = 0; j < router.top; ++j)
    sum += scores[ids[j]];
  for (int64_t j = 0; j < router.top; ++j)
    gates[j] = (router.normalise ? scores[ids[j]] / (sum + 1e-20f) : scores[ids[j]]) * router.scale;
}

Tensor moray::reference::gatesOf(const Tensor &logits, const Tensor &ids, const Router &router) {
  Tensor scores = routerScores(logits, router), gates(Element::F32, ids.shape);
  for (int64_t t = 0; t < ids.rows(); ++t)
    writeGates(scores.row(t), ids.intRow(t), router, gates.row(t));
  return gates;
}

Routing moray::reference::route(const Tensor &logits, const Tensor *bias, const Router &router) {
  Tensor scores = routerScores(logits, router);
  Tensor ids(Element::I32, {logits.rows(), router.top});
  for (int64_t t = 0; t < logits.rows(); ++t) {
    std::vector<float> values(scores.row(t), scores.row(t) + scores.width());
    for (size_t i = 0; bias && i < values.size(); ++i)
      values[i] += bias->values[i];
    std::vector<int32_t> chosen = selectExperts(values, router);
    std::copy(chosen.begin(), chosen.end(), ids.intRow(t));
  }
  Tensor gates = gatesOf(logits, ids, router);
  return {std::move(ids), std::move(gates)};
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

/// One linear inside an expert: quantises its operand if asked to, and rounds its result to `element`.
static Tensor innerLinear(const Tensor &source, const Matrix &weight, Activation activation, Element element) {
  if (activation == Activation::AsRows)
    return linear(source, nullptr, weight, nullptr, element);
  Quantized codes = quantizeRows(source, activation == Activation::F8PowerScales);
  return linear(codes.codes, &codes.scales, weight, nullptr, element);
}

/// Choices of a row in ascending expert index.
static std::vector<int32_t> ascending(const int32_t *ids, int64_t count) {
  std::vector<int32_t> order = indices(count);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return ids[a] < ids[b]; }); // experts differ
  return order;
}

Tensor moray::reference::experts(const Tensor &source, const Tensor &ids, const Tensor &gates,
                                 const ExpertWeights &weights, Activation activation) {
  Tensor out(Element::F32, source.shape);
  for (int64_t t = 0; t < source.rows(); ++t) {
    Tensor row(source.element, {1, source.width()});
    std::copy_n(source.row(t), source.width(), row.row(0));
    for (int32_t j : ascending(ids.intRow(t), ids.width())) {
      int32_t expert = ids.intRow(t)[j];
      Tensor gate = innerLinear(row, Matrix::of(*weights.gate, weights.gateScales, expert), activation, source.element);
      Tensor up = innerLinear(row, Matrix::of(*weights.up, weights.upScales, expert), activation, source.element);
      Tensor hidden = swiglu(gate, up, source.element);
      Tensor down =
          innerLinear(hidden, Matrix::of(*weights.down, weights.downScales, expert), activation, source.element);
      for (int64_t i = 0; i < source.width(); ++i) {
        float term = gates.row(t)[j] * down.values[i]; // a statement of its own: no contraction
        out.row(t)[i] += term;
      }
    }
  }
  return out;
}

Dispatch moray::reference::dispatch(const Tensor &ids, const Tensor &gates, int64_t expertCount) {
  Dispatch out{Tensor(Element::I32, {expertCount + 1}), Tensor(Element::I32, {ids.size()}),
               Tensor(Element::I32, ids.shape), Tensor(Element::F32, ids.shape)};
  int32_t slot = 0;
  for (int64_t expert = 0; expert < expertCount; ++expert) {
    out.offsets.ints[expert] = slot;
    for (int64_t t = 0; t < ids.rows(); ++t) {
      std::vector<int32_t> order = ascending(ids.intRow(t), ids.width());
      for (int64_t j = 0; j < ids.width(); ++j) {
        if (ids.intRow(t)[order[j]] != expert)
          continue;
        out.tokens.ints[slot] = t;
        out.ranks.intRow(t)[j] = slot++;
        out.gates.row(t)[j] = gates.row(t)[order[j]];
      }
    }
  }
  out.offsets.ints[expertCount] = slot;
  return out;
}

Tensor moray::reference::groupedLinear(const Tensor &source, const Tensor *sourceScales, const Tensor *tokens,
                                       const Tensor &offsets, const Tensor &weight, const Tensor *scales,
                                       Element result) {
  int64_t expertCount = weight.shape[0];
  Tensor out(result, {offsets.ints[expertCount], weight.shape[1]});
  std::vector<double> sums(weight.shape[1]);
  for (int64_t expert = 0; expert < expertCount; ++expert)
    for (int32_t slot = offsets.ints[expert]; slot < offsets.ints[expert + 1]; ++slot) {
      int64_t row = tokens ? tokens->ints[slot] : slot;
      multiplyRow(source.row(row), sourceScales ? sourceScales->row(row) : nullptr, Matrix::of(weight, scales, expert),
                  sums.data());
      for (size_t o = 0; o < sums.size(); ++o)
        out.row(slot)[o] = roundTo(sums[o], result);
    }
  return out;
}

Tensor moray::reference::combine(const Tensor &source, const Tensor &ranks, const Tensor &gates) {
  Tensor out(Element::F32, {ranks.rows(), source.width()});
  for (int64_t t = 0; t < ranks.rows(); ++t)
    for (int64_t j = 0; j < ranks.width(); ++j)
      for (int64_t i = 0; i < source.width(); ++i) {
        float term = gates.row(t)[j] * source.row(ranks.intRow(t)[j])[i];
        out.row(t)[i] += term;
      }
  return out;
}
