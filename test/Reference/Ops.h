// Semantics of the lm, mla and moe ops, one function per op, on plain tensors; no MLIR here, so that unit tests can
// call them directly.
//
// Sums run in double and are rounded once to f32, then to the element type of the result. Shapes are those that the op
// verifiers check; callers check what only data can break (row counts, ids, indices). `Element result` is the element
// type of the result.
#ifndef MORAY_TEST_REFERENCE_OPS_H
#define MORAY_TEST_REFERENCE_OPS_H

#include "test/Reference/Tensor.h"

#include <functional>
#include <map>
#include <memory>

namespace moray::reference {

constexpr int64_t kBlock = 128; // elements of an FP8 block along K and along O (spec fp8.md 2)

inline int64_t blocksOf(int64_t n) { return (n + kBlock - 1) / kBlock; }

//===----------------------------------------------------------------------===//
// Row ops (RowOps.cpp)
//===----------------------------------------------------------------------===//

/// tokens [T], each in [0, V); weight [V, H].
Tensor embed(const Tensor &tokens, const Tensor &weight, Element result);
/// indices [N], each in [0, rows of source).
Tensor gatherRows(const Tensor &source, const Tensor &indices);
Tensor slice(const Tensor &source, int64_t offset, int64_t width, Element result);
Tensor cast(const Tensor &source, Element result);
Tensor add(const Tensor &lhs, const Tensor &rhs, Element result);
Tensor swiglu(const Tensor &gate, const Tensor &up, Element result);
Tensor rmsNorm(const Tensor &source, const Tensor &weight, float eps, Element result);

struct RopeTable {
  Tensor cos, sin; // [rows, pairs] f32
};
RopeTable ropeTable(const std::vector<int32_t> &positions, const std::vector<float> &invFreq, float multiplier);
/// Rotates the last 2 * pairs elements of every head of `headDim`.
Tensor rope(const Tensor &source, const RopeTable &table, int64_t headDim, bool interleaved, Element result);

//===----------------------------------------------------------------------===//
// FP8 and matrix products (Linear.cpp)
//===----------------------------------------------------------------------===//

struct Quantized {
  Tensor codes;  // f8E4M3FN
  Tensor scales; // f32
};
/// Activations in groups of 1x128 (spec fp8.md 4).
Quantized quantizeRows(const Tensor &source, bool ue8m0);
/// A weight [.., O, K] in blocks of 128x128 (spec fp8.md 7); rank 3 is quantised per expert.
Quantized quantizeWeight(const Tensor &weight, bool ue8m0);
/// f32(code * scale), rounded to `result`, for a weight [.., O, K].
Tensor dequantizeWeight(const Tensor &codes, const Tensor &scales, Element result);

/// A matrix [O, K] inside a tensor; with block scales [ceil(O/128), ceil(K/128)] for FP8 codes.
struct Matrix {
  const float *values;
  const float *scales; // null without scales
  int64_t rows, depth;

  /// The whole of a rank-2 weight; `scales` may be null.
  static Matrix of(const Tensor &weight, const Tensor *scales);
  /// Matrix `index` of a rank-3 weight [E, O, K] with scales [E, .., ..].
  static Matrix of(const Tensor &weight, const Tensor *scales, int64_t index);
  /// Dequantised element.
  double at(int64_t row, int64_t column) const;
};
/// out[o] = sum_k x[k] W[o, k] in double: per block of 128 a partial sum, times the block's scales (`xScales` null: 1).
void multiplyRow(const float *x, const float *xScales, const Matrix &weight, double *out);
/// lm.linear and lm.scaled_linear; `sourceScales` and `bias` may be null.
Tensor linear(const Tensor &source, const Tensor *sourceScales, const Matrix &weight, const Tensor *bias,
              Element result);

//===----------------------------------------------------------------------===//
// Attention (Attention.cpp)
//===----------------------------------------------------------------------===//

/// Value of an !lm.rows: rows of one step sorted [decode | prefill].
struct Rows {
  std::vector<int32_t> positions, rowSeq;      // per row: position, index of its sequence in this step
  std::vector<int32_t> cuRows;                 // per sequence of the step and the end: first row
  std::vector<int32_t> ctxLen;                 // per sequence: positions after this step
  std::vector<std::vector<int32_t>> pageTable; // per sequence: page numbers
  int64_t decodeRows = 0;

  int64_t count() const { return static_cast<int64_t>(positions.size()); }
};

/// Latent cache of all layers. Pages appear when they are first written; elements never written are NaN.
class Cache {
public:
  Cache(int64_t latent, int64_t rope, int64_t page, Element element)
      : latent(latent), rope(rope), page(page), element(element) {}

  const int64_t latent, rope, page;
  const Element element;

  /// latent + rope elements of one position; writable memory.
  float *slot(int64_t layer, const Rows &rows, int64_t sequence, int64_t position);

private:
  std::map<std::pair<int64_t, int32_t>, std::vector<float>> pages; // by (layer, page number)
};

struct LayerCache {
  Cache *cache = nullptr;
  int64_t layer = 0;
};

void append(const LayerCache &cache, const Rows &rows, const Tensor &latent, const Tensor &rope);

struct AttentionShape {
  int64_t heads = 0, nope = 0, value = 0;
  float scale = 0;
};
enum class Activation { AsRows, F8F32Scales, F8PowerScales };

/// Expanded form. Rows before `firstRow` stay NaN in the result. `activation`: how the latent enters kv_b.
Tensor attention(const Tensor &query, const LayerCache &cache, const Rows &rows, const Matrix &kvB,
                 const AttentionShape &shape, Activation activation, int64_t firstRow, Element result);
/// Absorbed form: decode rows only, the others are NaN (absorbValue: from `into`).
Tensor absorbQuery(const Tensor &query, const Rows &rows, const Matrix &kvB, const AttentionShape &shape,
                   Element result);
Tensor latentAttention(const Tensor &absorbed, const Tensor &query, const LayerCache &cache, const Rows &rows,
                       const AttentionShape &shape, Element result);
Tensor absorbValue(const Tensor &source, const Rows &rows, const Matrix &kvB, const Tensor &into,
                   const AttentionShape &shape, Element result);

//===----------------------------------------------------------------------===//
// Mixture of experts (MoE.cpp)
//===----------------------------------------------------------------------===//

enum class RouterMethod { Greedy, GroupLimitedGreedy, NoauxTc };
struct Router {
  bool sigmoid = false;
  RouterMethod method = RouterMethod::Greedy;
  int64_t groups = 1, keep = 1, top = 1;
  bool normalise = false;
  float scale = 1;
};
struct Routing {
  Tensor ids;   // [rows, K] in selection order
  Tensor gates; // [rows, K] f32
};

/// f32 router logits [rows, E].
Tensor routerLogits(const Tensor &source, const Tensor &weight);
/// Unbiased scores [rows, E] of logits.
Tensor routerScores(const Tensor &logits, const Router &router);
/// Selection and weights; `bias` [E] may be null. Logits hold no NaN.
Routing route(const Tensor &logits, const Tensor *bias, const Router &router);
/// Weights of given experts, as if they had been selected in this order.
Tensor gatesOf(const Tensor &logits, const Tensor &ids, const Router &router);

struct ExpertWeights {
  const Tensor *gate, *up, *down;                   // [E, Fe, H], [E, Fe, H], [E, H, Fe]
  const Tensor *gateScales, *upScales, *downScales; // null unless FP8
};
Tensor experts(const Tensor &source, const Tensor &ids, const Tensor &gates, const ExpertWeights &weights,
               Activation activation);

struct Dispatch {
  Tensor offsets, tokens, ranks, gates;
};
Dispatch dispatch(const Tensor &ids, const Tensor &gates, int64_t expertCount);
/// `tokens` may be null: slot i then reads row i.
Tensor groupedLinear(const Tensor &source, const Tensor *sourceScales, const Tensor *tokens, const Tensor &offsets,
                     const Tensor &weight, const Tensor *scales, Element result);
Tensor combine(const Tensor &source, const Tensor &ranks, const Tensor &gates);

//===----------------------------------------------------------------------===//
// Sampling (Sampling.cpp)
//===----------------------------------------------------------------------===//

struct SampleParams {
  uint64_t seed = 0;
  uint32_t position = 0;
  float temperature = 0;
  uint32_t topK = 0;
  float topP = 1;
};
/// Reads a row of moray_sample_params (24 bytes, one per int).
SampleParams sampleParams(const int32_t *bytes);
/// Integer weight per id (0: filtered out) from which a token is drawn; temperature > 0.
std::vector<uint64_t> sampleWeights(const float *logits, int64_t count, const SampleParams &params);
/// The token of one row; logits hold no NaN.
int32_t sample(const float *logits, int64_t count, const SampleParams &params);
/// Largest logit, smallest id on ties.
int32_t argmax(const float *logits, int64_t count);
double logProb(const float *logits, int64_t count, int32_t target);

} // namespace moray::reference

#endif
