//===- AttentionCase.h - attention kernels and batches for tests -------*- C++ -*-===//
// Specs of expanded and absorbed attention by geometry and types, and sequences in a paged cache.

#ifndef MORAY_TEST_UNIT_CODEGENROWS_ATTENTIONCASE_H
#define MORAY_TEST_UNIT_CODEGENROWS_ATTENTIONCASE_H

#include "TestKernels.h"
#include <llvm/Support/FormatVariadic.h>
#include <numeric>

namespace moray::test {

struct Geometry {
  size_t heads, nope, rope, value, latent;
  float scale;
  size_t width() const { return nope + rope; }
};

/// Element types of a kernel: rows, cache, weight ("f32", "bf16", "f8E4M3FN").
struct Types {
  const char *act = "f32", *cache = "f32", *weight = "f32", *activation = "f32", *format = "f32", *range = "all";
};

inline std::string dictionary(const Geometry &g, bool scale) {
  return llvm::formatv("heads = {0} : i64{1}{2}", g.heads,
                       scale ? llvm::formatv(", scale = {0:e9} : f32", g.scale).str() : "", "")
      .str();
}

inline codegen::KernelSpec expandedSpec(const Geometry &g, const Types &t) {
  size_t rows = g.heads * (g.nope + g.value);
  bool f8 = t.weight[1] == '8';
  std::string scales = llvm::formatv("tensor<{0}x{1}xf32>", (rows + 127) / 128, (g.latent + 127) / 128).str();
  return specOf(llvm::formatv(R"(cmd.kernel @k attention over rows {
    ^bb0(%q: tensor<?x{0}x{1}>, %c: !mla.layer_cache<{2}, {3}, page = 64, {4}>, %r: !lm.rows,
        %w: tensor<{5}x{2}x{6}>{7}):
      %o = mla.attention %q, %c, %r, %w {8} {{{9}, nope = {10} : i64, value = {11} : i64, activation = {12},
          format = #lm<scale_format {13}>, row_range = #mla<row_range {14}>}
        : (tensor<?x{0}x{1}>, !mla.layer_cache<{2}, {3}, page = 64, {4}>, !lm.rows, tensor<{5}x{2}x{6}>{15})
            -> tensor<?x{16}x{1}>
      lm.yield %o : tensor<?x{16}x{1}>
    })",
                              g.heads * g.width(), t.act, g.latent, g.rope, t.cache, rows, t.weight,
                              f8 ? ", %s: " + scales : "", f8 ? "scales %s" : "", dictionary(g, true), g.nope, g.value,
                              t.activation, t.format, t.range, f8 ? ", " + scales : "", g.heads * g.value)
                    .str());
}

inline std::vector<codegen::KernelSpec> absorbedSpecs(const Geometry &g, const Types &t) {
  size_t rows = g.heads * (g.nope + g.value);
  bool f8 = t.weight[1] == '8';
  std::string scaleType = llvm::formatv("tensor<{0}x{1}xf32>", (rows + 127) / 128, (g.latent + 127) / 128).str();
  std::string weight = llvm::formatv("tensor<{0}x{1}x{2}>", rows, g.latent, t.weight).str();
  std::string q = llvm::formatv("tensor<?x{0}x{1}>", g.heads * g.width(), t.act).str();
  std::string u = llvm::formatv("tensor<?x{0}x{1}>", g.heads * g.latent, t.act).str();
  std::string ctx = llvm::formatv("tensor<?x{0}x{1}>", g.heads * g.value, t.act).str();
  std::string cache = llvm::formatv("!mla.layer_cache<{0}, {1}, page = 64, {2}>", g.latent, g.rope, t.cache).str();
  std::string attributes =
      llvm::formatv("heads = {0} : i64, nope = {1} : i64, value = {2} : i64", g.heads, g.nope, g.value).str();
  const char *s = f8 ? "scales %s" : "";
  std::string sArg = f8 ? ", %s: " + scaleType : "", sType = f8 ? ", " + scaleType : "";
  std::string query = llvm::formatv(R"(cmd.kernel @k attention over decode {
    ^bb0(%q: {0}, %w: {1}{2}):
      %o = mla.absorb_query %q, %w {3} {{{4}} : ({0}, {1}{5}) -> {6}
      lm.yield %o : {6}
    })",
                                    q, weight, sArg, s, attributes, sType, u)
                          .str();
  std::string latent = llvm::formatv(R"(cmd.kernel @k attention over decode {
    ^bb0(%a: {0}, %q: {1}, %c: {2}, %r: !lm.rows):
      %o = mla.latent_attention %a, %q, %c, %r {{heads = {3} : i64, scale = {4:e9} : f32} : {0}, {1}, {2} -> {0}
      lm.yield %o : {0}
    })",
                                     u, q, cache, g.heads, g.scale)
                           .str();
  std::string value = llvm::formatv(R"(cmd.kernel @k attention over decode {
    ^bb0(%u: {0}, %w: {1}{2}, %i: {7}):
      %o = mla.absorb_value %u, %w {3} into %i {{{4}} : ({0}, {1}{5}, {7}) -> {7}
      lm.yield %o : {7}
    })",
                                    u, weight, sArg, s, attributes, sType, "", ctx)
                          .str();
  return {specOf(query), specOf(latent), specOf(value)};
}

/// A batch of sequences whose keys are in a paged cache with pages in no order.
template <typename T> struct Batch {
  Geometry g;
  std::vector<int32_t> positions, sequences, firstRows{0}, pages, lengths;
  std::vector<T> cache;
  size_t maxPages;
  Batch(Geometry g, size_t count, size_t maxPages = 4) : g(g), maxPages(maxPages) {
    pages.resize(count * maxPages);
    size_t stride = 7;
    while (std::gcd(stride, pages.size()) != 1)
      ++stride;
    for (size_t i = 0; i < pages.size(); ++i)
      pages[i] = int32_t(i * stride % pages.size());
    cache.assign(pages.size() * 64 * (g.latent + g.rope), T(0x7FC0)); // an unwritten slot is not even finite in bf16
  }
  T *slot(size_t sequence, size_t key) {
    return &cache[(pages[sequence * maxPages + key / 64] * 64 + key % 64) * (g.latent + g.rope)];
  }
  void addRow(size_t sequence, int32_t position) {
    positions.push_back(position), sequences.push_back(sequence);
    firstRows.resize(sequence + 2, firstRows.back());
    firstRows.back() = positions.size();
  }
  SymbolValues symbols(uint64_t decodeRows) const {
    uint64_t rows = positions.size();
    uint64_t count = firstRows.size() - 1;
    return {rows, count, 1, maxPages, pages.size(), rows, decodeRows, count, 0, rows - decodeRows};
  }
};

template <typename T> std::vector<T> padRows(const std::vector<T> &w, size_t width) {
  size_t pitch = (width * sizeof(T) + 63) / 64 * 64 / sizeof(T), rows = w.size() / width;
  std::vector<T> padded(rows * pitch);
  for (size_t r = 0; r < rows; ++r)
    std::copy_n(&w[r * width], width, &padded[r * pitch]);
  return padded;
}

} // namespace moray::test

#endif
