//===- AttentionTest.cpp - attention on GPUs ------------------------------------------===//
// Expanded and absorbed attention against the CPU kernels; equal bits for every batch, chunk and capacity; faults.

#include "../Codegen/GemmCase.h"
#include "../CodegenRows/AttentionCase.h"
#include "GpuRunner.h"
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
using Codes = std::vector<uint16_t>;

struct RowId {
  size_t sequence;
  int32_t position;
};

/// The types of a GPU kernel, and which rows it treats.
Types gpuTypes(const char *weight, const char *activation = "bf16", const char *format = "f32",
               const char *range = "all") {
  return {"bf16", "bf16", weight, activation, format, range};
}

/// Weights, caches and query rows of one geometry; a query row depends on its sequence and position alone.
class Model {
public:
  Model(const Geometry &g, const Types &types, const std::vector<int32_t> &lengths)
      : g(g), types(types), cache(g, lengths.size(), *std::max_element(lengths.begin(), lengths.end()) / 64 + 1) {
    Random random(g.latent + lengths.size());
    for (size_t s = 0; s < lengths.size(); ++s)
      for (int32_t key = 0; key < lengths[s]; ++key)
        for (size_t i = 0; i < g.latent + g.rope; ++i)
          cache.slot(s, key)[i] = toBf16(random.normal());
    size_t rows = g.heads * (g.nope + g.value), blocks = (g.latent + 127) / 128;
    float spread = 1 / std::sqrt(float(g.latent));
    if (types.weight[1] == '8') {
      std::vector<uint8_t> codes;
      for (size_t i = 0; i < rows * g.latent; ++i)
        codes.push_back(uint8_t((random.bits() >> 20 & 0x80) | (0x20 + (random.bits() >> 24) % 0x20))); // 2^-3 .. 2
      std::vector<float> scales;
      for (size_t i = 0; i < (rows + 127) / 128 * blocks; ++i)
        scales.push_back(spread * (0.5f + 2 * random.uniform()));
      weights.push_back(bufferOf(padRows(codes, g.latent)));
      weights.push_back(bufferOf(padRows(scales, blocks)));
      return;
    }
    Codes values;
    for (float x : random.normals(rows * g.latent, spread))
      values.push_back(toBf16(x));
    weights.push_back(bufferOf(padRows(values, g.latent)));
  }

  Codes query(const RowId &row) const {
    Random random(row.sequence * 100003 + row.position);
    Codes q;
    for (float x : random.normals(g.heads * g.width()))
      q.push_back(toBf16(x));
    return q;
  }

  const Geometry g;
  const Types types;
  Batch<uint16_t> cache;
  std::vector<Buffer> weights;
};

/// One step over some rows; `spare` more rows and sequences exist in the buffers, with values that must not be used.
class Step {
public:
  Step(const Model &model, const std::vector<RowId> &rows, uint64_t decodeRows, size_t spare = 0)
      : model(model), batch(model.cache), count(rows.size()), decodeRows(decodeRows), spare(spare) {
    for (const RowId &row : rows) {
      batch.addRow(row.sequence, row.position);
      Codes q = model.query(row);
      queries.insert(queries.end(), q.begin(), q.end());
    }
    symbols = batch.symbols(decodeRows);
    live = {int32_t(symbols[5]), int32_t(symbols[6]), int32_t(symbols[7]), 0};
    for (size_t i = 0; i < spare; ++i) {
      batch.positions.push_back(0x7fffffff), batch.sequences.push_back(0x7fffffff);
      batch.firstRows.push_back(-1);
    }
    queries.resize(queries.size() + spare * model.g.heads * model.g.width(), 0x7FC0);
    for (unsigned symbol : {0, 1, 5, 6, 7, 9}) // the grid is that of a larger step
      symbols[symbol] += spare;
    rowBuffers.push_back(bufferOf(batch.positions)), rowBuffers.push_back(bufferOf(batch.sequences));
    rowBuffers.push_back(bufferOf(batch.firstRows)), rowBuffers.push_back(bufferOf(batch.pages));
    rowBuffers.push_back(bufferOf(batch.lengths));
    q = std::make_unique<Buffer>(bufferOf(queries)), cache = std::make_unique<Buffer>(bufferOf(batch.cache));
  }

  /// Operands of the kernels, without the result.
  std::vector<const Buffer *> expanded() const { return join({q.get(), cache.get()}, rowPointers(), weightPointers()); }
  std::vector<const Buffer *> absorbQuery() const { return join({q.get()}, weightPointers(), {}); }
  std::vector<const Buffer *> latent(const Buffer &absorbed) const {
    return join({&absorbed, q.get(), cache.get()}, rowPointers(), {});
  }
  std::vector<const Buffer *> absorbValue(const Buffer &u, const Buffer &into) const {
    return join({&u}, weightPointers(), {&into});
  }

  Buffer result(size_t width) const { return bufferOf(Codes((count + spare) * model.g.heads * width, 0x5555)); }
  /// A buffer of results with `spare` more rows, which hold NaN.
  Buffer padded(const Buffer &values, size_t width) const {
    Codes codes = valuesOf<uint16_t>(values, count * model.g.heads * width);
    codes.resize((count + spare) * model.g.heads * width, 0x7FC0);
    return bufferOf(codes);
  }

  uint32_t onGpu(GpuRunner &runner, size_t kernel, std::vector<const Buffer *> operands, const Buffer &out) const {
    operands.push_back(&out);
    std::vector<Memory> memories;
    for (const Buffer *operand : operands)
      memories.emplace_back(*operand);
    return runner.run(kernel, memories, symbols, live, /*layer=*/6);
  }
  uint32_t onCpu(const KernelRunner &runner, size_t kernel, std::vector<const Buffer *> operands,
                 const Buffer &out) const {
    operands.push_back(&out);
    std::vector<void *> pointers;
    for (const Buffer *operand : operands)
      pointers.push_back(operand->data());
    SymbolValues exact = symbols;
    for (unsigned symbol : {0, 1, 5, 7})
      exact[symbol] -= spare;
    exact[6] = decodeRows;
    return runner.run(kernel, pointers, exact);
  }

  /// Makes the query of a row NaN.
  void poison(size_t row) {
    size_t width = model.g.heads * model.g.width();
    std::fill_n(q->data<uint16_t>() + row * width, width, uint16_t(0x7FC0));
  }

  const Model &model;
  Batch<uint16_t> batch;
  size_t count;
  uint64_t decodeRows;
  size_t spare;
  SymbolValues symbols;
  std::array<int32_t, 4> live;
  Codes queries;

private:
  std::vector<Buffer> rowBuffers;
  std::unique_ptr<Buffer> q, cache;
  std::vector<const Buffer *> rowPointers() const { return pointersTo(rowBuffers); }
  std::vector<const Buffer *> weightPointers() const { return pointersTo(model.weights); }
  static std::vector<const Buffer *> pointersTo(const std::vector<Buffer> &buffers) {
    std::vector<const Buffer *> all;
    for (const Buffer &buffer : buffers)
      all.push_back(&buffer);
    return all;
  }
  static std::vector<const Buffer *> join(std::vector<const Buffer *> a, const std::vector<const Buffer *> &b,
                                          const std::vector<const Buffer *> &c) {
    a.insert(a.end(), b.begin(), b.end());
    a.insert(a.end(), c.begin(), c.end());
    return a;
  }
};

/// Rows [first, last): every element near the CPU's, all together nearly the same direction.
void expectClose(const Buffer &cpu, const Buffer &gpu, size_t first, size_t last, size_t width) {
  double dot = 0, squares = 0;
  for (size_t row = first; row < last; ++row) {
    const uint16_t *want = cpu.data<uint16_t>() + row * width, *got = gpu.data<uint16_t>() + row * width;
    double square = 0;
    for (size_t i = 0; i < width; ++i)
      square += double(fromBf16(want[i])) * fromBf16(want[i]);
    double rms = std::sqrt(square / width);
    for (size_t i = 0; i < width; ++i) {
      double x = fromBf16(want[i]), y = fromBf16(got[i]);
      ASSERT_LE(std::fabs(x - y), 2e-2 * std::max(std::fabs(x), rms)) << "row " << row << " element " << i;
      dot += x * y, squares += x * x + y * y;
    }
  }
  EXPECT_LE(1 - 2 * dot / squares, 1e-5);
}

/// Rows of which nothing may have been written.
void expectUntouched(const Buffer &out, size_t first, size_t last, size_t width) {
  for (size_t i = first * width; i < last * width; ++i)
    ASSERT_EQ(0x5555, out.data<uint16_t>()[i]) << "row " << i / width;
}

std::vector<RowId> prefillRows(size_t sequence, int32_t first, int32_t last) {
  std::vector<RowId> rows;
  for (int32_t p = first; p < last; ++p)
    rows.push_back({sequence, p});
  return rows;
}

const GpuTarget &sm80() { return *findGpuTarget("cuda:sm_80"); }
/// Contexts on both sides of a key block and of a split; the last sequence verifies three drafted tokens.
const std::vector<int32_t> contexts = {1, 63, 64, 65, 300, 700, 259};
std::vector<RowId> decodeRows() {
  std::vector<RowId> rows;
  for (size_t s = 0; s + 1 < contexts.size(); ++s)
    rows.push_back({s, contexts[s] - 1});
  for (int32_t p = 256; p < 259; ++p)
    rows.push_back({contexts.size() - 1, p});
  return rows;
}

/// All three absorbed kernels, each on the CPU's input, against the CPU's result.
void checkDecode(const Geometry &g, const char *weight) {
  std::vector<int32_t> lengths = contexts;
  lengths.push_back(1);
  Model model(g, gpuTypes(weight), lengths);
  std::vector<KernelSpec> specs = absorbedSpecs(g, model.types);
  KernelRunner cpu(specs, hostLevels().front());
  GpuRunner gpu(specs, sm80());
  std::vector<RowId> rows = decodeRows();
  size_t decode = rows.size();
  rows.push_back({contexts.size(), 0}); // a prefill row: not for these kernels
  Step step(model, rows, decode, /*spare=*/3);
  Buffer queryCpu = step.result(g.latent), queryGpu = step.result(g.latent);
  EXPECT_EQ(0u, step.onCpu(cpu, 0, step.absorbQuery(), queryCpu));
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.absorbQuery(), queryGpu));
  expectClose(queryCpu, queryGpu, 0, decode, g.heads * g.latent);
  expectUntouched(queryGpu, decode, rows.size() + 3, g.heads * g.latent);

  Buffer absorbed = step.padded(queryCpu, g.latent), uCpu = step.result(g.latent), uGpu = step.result(g.latent);
  EXPECT_EQ(0u, step.onCpu(cpu, 1, step.latent(absorbed), uCpu));
  EXPECT_EQ(0u, step.onGpu(gpu, 1, step.latent(absorbed), uGpu));
  expectClose(uCpu, uGpu, 0, decode, g.heads * g.latent);
  expectUntouched(uGpu, decode, rows.size() + 3, g.heads * g.latent);

  Buffer u = step.padded(uCpu, g.latent), valueCpu = step.result(g.value), valueGpu = step.result(g.value);
  Buffer into = step.result(g.value);
  EXPECT_EQ(0u, step.onCpu(cpu, 2, step.absorbValue(u, into), valueCpu));
  EXPECT_EQ(0u, step.onGpu(gpu, 2, step.absorbValue(u, into), valueGpu));
  expectClose(valueCpu, valueGpu, 0, decode, g.heads * g.value);
  expectUntouched(valueGpu, decode, rows.size() + 3, g.heads * g.value);
}

const Geometry tiny{4, 32, 16, 48, 96, 0.27f}, ragged{3, 24, 10, 20, 40, 0.2f}, straddling{2, 96, 16, 80, 144, 0.1f},
    manyHeads{17, 16, 16, 16, 32, 0.3f}, real{2, 128, 64, 128, 512, 0.1f};
} // namespace

TEST(GpuAttention, DecodeOfTinyModels) { checkDecode(tiny, "f8E4M3FN"); }
TEST(GpuAttention, DecodeWithScalesThatChangeInsideHeads) { checkDecode(straddling, "f8E4M3FN"); }
TEST(GpuAttention, DecodeOfRaggedWidths) {
  checkDecode(ragged, "f8E4M3FN");
  checkDecode(ragged, "bf16");
}
TEST(GpuAttention, DecodeOfMoreThanSixteenHeads) { checkDecode(manyHeads, "bf16"); }
TEST(GpuAttention, DecodeOfRealWidths) { checkDecode(real, "f8E4M3FN"); }

/// More keys than the shortest splits can share: splits get longer.
TEST(GpuAttention, DecodeOfLongContexts) {
  const Geometry g{128, 16, 16, 16, 16, 0.3f};
  Model model(g, gpuTypes("bf16"), {4300});
  KernelSpec spec = absorbedSpecs(g, model.types)[1];
  KernelRunner cpu({spec}, hostLevels().front());
  GpuRunner gpu({spec}, sm80());
  Step step(model, {{0, 4299}}, 1);
  Codes absorbed;
  for (float x : Random(5).normals(g.heads * g.latent))
    absorbed.push_back(toBf16(x));
  Buffer source = bufferOf(absorbed), expected = step.result(g.latent), got = step.result(g.latent);
  EXPECT_EQ(0u, step.onCpu(cpu, 0, step.latent(source), expected));
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.latent(source), got));
  expectClose(expected, got, 0, 1, g.heads * g.latent);
}

TEST(GpuAttention, DecodeBitsDoNotDependOnTheBatch) {
  Model model(tiny, gpuTypes("f8E4M3FN"), contexts);
  std::vector<KernelSpec> specs = absorbedSpecs(tiny, model.types);
  GpuRunner gpu(specs, sm80());
  auto decode = [&](const std::vector<RowId> &rows, size_t spare) {
    Step step(model, rows, rows.size(), spare);
    Buffer absorbed = step.result(tiny.latent), u = step.result(tiny.latent), context = step.result(tiny.value);
    EXPECT_EQ(0u, step.onGpu(gpu, 0, step.absorbQuery(), absorbed));
    EXPECT_EQ(0u, step.onGpu(gpu, 1, step.latent(absorbed), u));
    EXPECT_EQ(0u, step.onGpu(gpu, 2, step.absorbValue(u, context), context));
    return valuesOf<uint16_t>(context, rows.size() * tiny.heads * tiny.value);
  };
  std::vector<RowId> rows = decodeRows();
  for (int32_t p = 0; p < 20; ++p) // more than one tile of 16 rows
    rows.push_back({6, 200 + p});
  Codes all = decode(rows, 0);
  size_t width = tiny.heads * tiny.value;
  for (size_t i : {size_t(0), size_t(3), size_t(5), size_t(8), rows.size() - 1})
    EXPECT_EQ(Codes(all.begin() + i * width, all.begin() + (i + 1) * width), decode({rows[i]}, i % 3)) << "row " << i;
}

TEST(GpuAttention, NoDecodeRowsWriteNothing) {
  Model model(tiny, gpuTypes("bf16"), {5});
  std::vector<KernelSpec> specs = absorbedSpecs(tiny, model.types);
  GpuRunner gpu(specs, sm80());
  Step step(model, prefillRows(0, 0, 5), 0, /*spare=*/2);
  Buffer absorbed = step.result(tiny.latent), u = step.result(tiny.latent), context = step.result(tiny.value);
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.absorbQuery(), absorbed));
  EXPECT_EQ(0u, step.onGpu(gpu, 1, step.latent(absorbed), u));
  EXPECT_EQ(0u, step.onGpu(gpu, 2, step.absorbValue(u, context), context));
  expectUntouched(absorbed, 0, 7, tiny.heads * tiny.latent);
  expectUntouched(u, 0, 7, tiny.heads * tiny.latent);
  expectUntouched(context, 0, 7, tiny.heads * tiny.value);
}

namespace {
/// Decode rows, then prefill rows of sequences with and without a cached prefix, in tiles that several of them share.
void checkExpanded(const Geometry &g, const Types &types) {
  Model model(g, types, {70, 3, 150, 200});
  KernelSpec spec = expandedSpec(g, types);
  KernelRunner cpu({spec}, hostLevels().front());
  GpuRunner gpu({spec}, sm80());
  std::vector<RowId> rows = {{0, 69}, {1, 2}};
  for (auto part : {prefillRows(2, 0, 150), prefillRows(3, 190, 200)})
    rows.insert(rows.end(), part.begin(), part.end());
  Step step(model, rows, 2, /*spare=*/3);
  Buffer expected = step.result(g.value), got = step.result(g.value);
  EXPECT_EQ(0u, step.onCpu(cpu, 0, step.expanded(), expected));
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.expanded(), got));
  size_t first = types.range[0] == 'p' ? 2 : 0;
  expectUntouched(got, 0, first, g.heads * g.value);
  expectClose(expected, got, first, rows.size(), g.heads * g.value);
  expectUntouched(got, rows.size(), rows.size() + 3, g.heads * g.value);
}
} // namespace

TEST(GpuAttention, ExpandedOfTinyModels) {
  checkExpanded(tiny, gpuTypes("f8E4M3FN", "bf16", "f32", "prefill"));
  checkExpanded(tiny, gpuTypes("bf16"));
}
TEST(GpuAttention, ExpandedWithQuantisedLatents) {
  checkExpanded(straddling, gpuTypes("f8E4M3FN", "f8E4M3FN", "f32", "prefill"));
  checkExpanded(straddling, gpuTypes("f8E4M3FN", "f8E4M3FN", "ue8m0", "prefill"));
}
TEST(GpuAttention, ExpandedOfRaggedWidths) { checkExpanded(ragged, gpuTypes("f8E4M3FN")); }

TEST(GpuAttention, ExpandedOfRealWidths) {
  Types types = gpuTypes("f8E4M3FN", "bf16", "f32", "prefill");
  Model model(real, types, {70});
  KernelSpec spec = expandedSpec(real, types);
  KernelRunner cpu({spec}, hostLevels().front());
  GpuRunner gpu({spec}, sm80());
  Step step(model, prefillRows(0, 40, 70), 0);
  Buffer expected = step.result(real.value), got = step.result(real.value);
  EXPECT_EQ(0u, step.onCpu(cpu, 0, step.expanded(), expected));
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.expanded(), got));
  expectClose(expected, got, 0, 30, real.heads * real.value);
}

// Decode rows move the prompt rows over the end of a tile and behind all other sequences: no task may be missing.
TEST(GpuAttention, PromptRowsBehindDecodeRowsFillOneMoreTile) {
  Types types = gpuTypes("f8E4M3FN", "bf16", "f32", "prefill");
  Model model(tiny, types, {70, 3, 9, 126});
  KernelSpec spec = expandedSpec(tiny, types);
  KernelRunner cpu({spec}, hostLevels().front());
  GpuRunner gpu({spec}, sm80());
  for (int32_t prompt : {1, 126}) {
    std::vector<RowId> rows = {{0, 69}, {1, 2}, {2, 8}}, more = prefillRows(3, 0, prompt);
    rows.insert(rows.end(), more.begin(), more.end());
    Step step(model, rows, 3);
    Buffer expected = step.result(tiny.value), got = step.result(tiny.value);
    EXPECT_EQ(0u, step.onCpu(cpu, 0, step.expanded(), expected));
    EXPECT_EQ(0u, step.onGpu(gpu, 0, step.expanded(), got));
    expectClose(expected, got, 3, rows.size(), tiny.heads * tiny.value);
    EXPECT_NE(0x5555, valuesOf<uint16_t>(expected, rows.size() * tiny.heads * tiny.value).back());
  }
}

TEST(GpuAttention, ChunkingChangesNoBit) {
  const int32_t keys = 150;
  Types types = gpuTypes("f8E4M3FN", "f8E4M3FN");
  Model model(ragged, types, {40, keys});
  GpuRunner gpu({expandedSpec(ragged, types)}, sm80());
  size_t width = ragged.heads * ragged.value;
  Codes whole;
  for (int32_t chunk : {keys, 64, 7, 1}) {
    Codes result;
    int32_t end = chunk == 1 ? 5 : chunk == 7 ? 70 : keys; // enough of the slow ones
    for (int32_t start = 0; start < end; start += chunk) {
      // Another sequence comes first, so that rows land in other places of the tile.
      std::vector<RowId> rows = prefillRows(0, 0, start % 5),
                         mine = prefillRows(1, start, std::min(keys, start + chunk));
      size_t before = rows.size() * width;
      rows.insert(rows.end(), mine.begin(), mine.end());
      Step step(model, rows, 0);
      Buffer out = step.result(ragged.value);
      EXPECT_EQ(0u, step.onGpu(gpu, 0, step.expanded(), out));
      Codes values = valuesOf<uint16_t>(out, rows.size() * width);
      result.insert(result.end(), values.begin() + before, values.end());
    }
    if (whole.empty())
      whole = result;
    EXPECT_EQ(Codes(whole.begin(), whole.begin() + result.size()), result) << "chunk " << chunk;
  }
}

TEST(GpuAttention, NotFiniteIsAFaultOfItsLayer) {
  Types types = gpuTypes("bf16", "bf16", "f32", "prefill");
  Model model(tiny, types, {300, 3});
  std::vector<KernelSpec> specs = absorbedSpecs(tiny, types);
  specs.push_back(expandedSpec(tiny, types));
  GpuRunner gpu(specs, sm80());
  Step step(model, {{0, 299}, {1, 1}, {1, 2}}, 1);
  Buffer absorbed = step.result(tiny.latent), u = step.result(tiny.latent), context = step.result(tiny.value);
  step.poison(0); // row 0 decodes: only the absorbed kernels may see it
  EXPECT_EQ(0u, step.onGpu(gpu, 3, step.expanded(), context));
  EXPECT_EQ(0u, step.onGpu(gpu, 0, step.absorbQuery(), absorbed));
  EXPECT_EQ(7u, step.onGpu(gpu, 1, step.latent(absorbed), u));
  step.poison(2);
  EXPECT_EQ(7u, step.onGpu(gpu, 3, step.expanded(), context));
}

TEST(GpuAttention, RefusesWhatMatrixInstructionsDoNotTake) {
  auto messageOf = [](const KernelSpec &spec) {
    auto compiled = compileGpuKernels({spec}, sm80(), CompileOptions());
    return compiled ? std::string() : llvm::toString(compiled.takeError());
  };
  for (const KernelSpec &spec :
       {expandedSpec(tiny, {}), absorbedSpecs(tiny, {})[1], expandedSpec(tiny, {"bf16", "bf16", "f32", "bf16"})})
    EXPECT_NE(std::string::npos, messageOf(spec).find("E3109")) << messageOf(spec);
}
