// Latent cache and attention over it, expanded and absorbed (spec model.md 4.5).
#include "test/Reference/Ops.h"

#include <algorithm>
#include <cmath>

using namespace moray::reference;

float *Cache::slot(int64_t layer, const Rows &rows, int64_t sequence, int64_t position) {
  std::vector<float> &data = pages[{layer, rows.pageTable[sequence][position / page]}];
  if (data.empty())
    data.assign(page * (latent + rope), NAN);
  return data.data() + position % page * (latent + rope);
}

void moray::reference::append(const LayerCache &cache, const Rows &rows, const Tensor &latent, const Tensor &rope) {
  for (int64_t t = 0; t < rows.count(); ++t) {
    float *slot = cache.cache->slot(cache.layer, rows, rows.rowSeq[t], rows.positions[t]);
    for (int64_t i = 0; i < latent.width(); ++i)
      *slot++ = roundTo(latent.row(t)[i], cache.cache->element);
    for (int64_t i = 0; i < rope.width(); ++i)
      *slot++ = roundTo(rope.row(t)[i], cache.cache->element);
  }
}

static Tensor unwritten(Element element, int64_t rows, int64_t width) {
  Tensor out(element, {rows, width});
  std::fill(out.values.begin(), out.values.end(), NAN);
  return out;
}

static double dot(const float *a, const float *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// Softmax of `logits` times the values, over ascending blocks of `block` keys with a running maximum. The exponentials
/// that multiply the values are rounded to the type of the rows; their sum, which divides at the end, is not (op
/// description of mla.attention).
template <typename ValueOf>
static std::vector<double> attend(const std::vector<double> &logits, int64_t block, Element element, int64_t width,
                                  ValueOf valueOf) {
  std::vector<double> context(width);
  double max = -INFINITY, sum = 0;
  int64_t keys = static_cast<int64_t>(logits.size());
  for (int64_t first = 0; first < keys; first += block) {
    int64_t end = std::min(keys, first + block);
    double newMax = std::max(max, *std::max_element(logits.begin() + first, logits.begin() + end));
    double factor = std::exp(max - newMax);
    max = newMax;
    sum *= factor;
    for (double &c : context)
      c *= factor;
    for (int64_t s = first; s < end; ++s) {
      double p = std::exp(logits[s] - max), rounded = roundTo(p, element);
      sum += p;
      for (int64_t i = 0; i < width; ++i)
        context[i] += rounded * valueOf(s)[i];
    }
  }
  for (double &c : context)
    c /= sum;
  return context;
}

/// Keys and values of positions [0, count) of a sequence: latent x kv_b, [count, heads (nope + value)].
static Tensor expand(const LayerCache &cache, const Rows &rows, int64_t sequence, int64_t count, const Matrix &kvB,
                     Activation activation, Element result) {
  Tensor latent(cache.cache->element, {count, cache.cache->latent});
  for (int64_t s = 0; s < count; ++s)
    std::copy_n(cache.cache->slot(cache.layer, rows, sequence, s), cache.cache->latent, latent.row(s));
  if (activation == Activation::AsRows)
    return linear(latent, nullptr, kvB, nullptr, result);
  Quantized codes = quantizeRows(latent, activation == Activation::F8PowerScales);
  return linear(codes.codes, &codes.scales, kvB, nullptr, result);
}

Tensor moray::reference::attention(const Tensor &query, const LayerCache &cache, const Rows &rows, const Matrix &kvB,
                                   const AttentionShape &shape, Activation activation, int64_t firstRow,
                                   Element result) {
  Tensor out = unwritten(result, rows.count(), shape.heads * shape.value);
  int64_t rope = cache.cache->rope, latent = cache.cache->latent;
  int64_t queryDim = shape.nope + rope, expandedDim = shape.nope + shape.value;
  Tensor expanded;
  for (int64_t t = firstRow; t < rows.count(); ++t) {
    int64_t sequence = rows.rowSeq[t], keys = rows.positions[t] + 1;
    // Rows of a sequence stand together: expand all its keys once.
    if (t == firstRow || rows.rowSeq[t - 1] != sequence)
      expanded = expand(cache, rows, sequence, rows.ctxLen[sequence], kvB, activation, query.element);
    for (int64_t head = 0; head < shape.heads; ++head) {
      const float *q = query.row(t) + head * queryDim;
      std::vector<double> logits(keys);
      for (int64_t s = 0; s < keys; ++s) {
        const float *keyRope = cache.cache->slot(cache.layer, rows, sequence, s) + latent;
        logits[s] = shape.scale *
                    (dot(q, expanded.row(s) + head * expandedDim, shape.nope) + dot(q + shape.nope, keyRope, rope));
      }
      auto value = [&](int64_t s) { return expanded.row(s) + head * expandedDim + shape.nope; };
      std::vector<double> context = attend(logits, cache.cache->page, query.element, shape.value, value);
      for (int64_t i = 0; i < shape.value; ++i)
        out.row(t)[head * shape.value + i] = roundTo(context[i], result);
    }
  }
  return out;
}

Tensor moray::reference::absorbQuery(const Tensor &query, const Rows &rows, const Matrix &kvB,
                                     const AttentionShape &shape, Element result) {
  Tensor out = unwritten(result, query.rows(), shape.heads * kvB.depth);
  int64_t queryDim = query.width() / shape.heads;
  for (int64_t t = 0; t < rows.decodeRows; ++t)
    for (int64_t head = 0; head < shape.heads; ++head)
      for (int64_t c = 0; c < kvB.depth; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < shape.nope; ++i)
          sum += query.row(t)[head * queryDim + i] * kvB.at(head * (shape.nope + shape.value) + i, c);
        out.row(t)[head * kvB.depth + c] = roundTo(sum, result);
      }
  return out;
}

Tensor moray::reference::latentAttention(const Tensor &absorbed, const Tensor &query, const LayerCache &cache,
                                         const Rows &rows, const AttentionShape &shape, Element result) {
  int64_t latent = cache.cache->latent, rope = cache.cache->rope, queryDim = query.width() / shape.heads;
  Tensor out = unwritten(result, absorbed.rows(), shape.heads * latent);
  for (int64_t t = 0; t < rows.decodeRows; ++t)
    for (int64_t head = 0; head < shape.heads; ++head) {
      const float *queryRope = query.row(t) + (head + 1) * queryDim - rope;
      std::vector<double> logits(rows.positions[t] + 1);
      auto key = [&](int64_t s) { return cache.cache->slot(cache.layer, rows, rows.rowSeq[t], s); };
      for (size_t s = 0; s < logits.size(); ++s)
        logits[s] = shape.scale *
                    (dot(absorbed.row(t) + head * latent, key(s), latent) + dot(queryRope, key(s) + latent, rope));
      std::vector<double> context = attend(logits, cache.cache->page, query.element, latent, key);
      for (int64_t c = 0; c < latent; ++c)
        out.row(t)[head * latent + c] = roundTo(context[c], result);
    }
  return out;
}

Tensor moray::reference::absorbValue(const Tensor &source, const Rows &rows, const Matrix &kvB, const Tensor &into,
                                     const AttentionShape &shape, Element result) {
  Tensor out = into;
  for (int64_t t = 0; t < rows.decodeRows; ++t)
    for (int64_t head = 0; head < shape.heads; ++head)
      for (int64_t i = 0; i < shape.value; ++i) {
        int64_t row = head * (shape.nope + shape.value) + shape.nope + i;
        double sum = 0;
        for (int64_t c = 0; c < kvB.depth; ++c)
          sum += source.row(t)[head * kvB.depth + c] * kvB.at(row, c);
        out.row(t)[head * shape.value + i] = roundTo(sum, result);
      }
  return out;
}
