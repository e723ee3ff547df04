//===- RowTest.cpp - row kernels on GPUs --------------------------------------------===//
// Every row op and the fused kernels of the models must equal the CPU kernels bit by bit, ragged ends and faults
// included.

#include "OnGpu.h"
#include <cmath>
#include <llvm/Support/FormatVariadic.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
/// bf16 numbers as bits, with zeros, subnormals and large ones among them.
std::vector<uint16_t> bf16s(size_t count, Random &random) {
  std::vector<uint16_t> values;
  for (size_t i = 0; i < count; ++i) {
    float x = random.normal();
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x8003, 0x4700, 0xC500};
    uint64_t dice = random.bits() >> 32;
    values.push_back(dice % 97 == 0 ? special[dice / 97 % 6] : uint16_t(bits >> 16));
  }
  return values;
}
/// Live rows of ordinary numbers, then `more` rows of NaN.
Bytes bf16Rows(size_t rows, size_t more, size_t width, Random &random) {
  std::vector<uint16_t> values = bf16s(rows * width, random);
  values.resize((rows + more) * width, 0x7FFF);
  return bytesOf(values);
}
Bytes floatRows(size_t rows, size_t more, size_t width, Random &random) {
  std::vector<float> values = random.normals(rows * width);
  values.resize((rows + more) * width, NAN);
  return bytesOf(values);
}
Bytes words(const std::vector<int32_t> &values) { return bytesOf(values); }

KernelSpec addNormQuantise(size_t width, bool powerOfTwo) {
  return specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
    ^bb0(%h: tensor<?x{0}xbf16>, %o: tensor<?x{0}xbf16>, %w: tensor<{0}xbf16>):
      %a = lm.add %h, %o : tensor<?x{0}xbf16>, tensor<?x{0}xbf16> -> tensor<?x{0}xbf16>
      %y = lm.rms_norm %a, %w {{eps = 1.0e-6 : f32} : tensor<?x{0}xbf16>, tensor<{0}xbf16> -> tensor<?x{0}xbf16>
      %c, %s = lm.quantize %y {{format = #lm<scale_format {2}>} : tensor<?x{0}xbf16> -> tensor<?x{0}xf8E4M3FN>,
          tensor<?x{1}xf32>
      lm.yield %a, %y, %c, %s : tensor<?x{0}xbf16>, tensor<?x{0}xbf16>, tensor<?x{0}xf8E4M3FN>, tensor<?x{1}xf32>
    })",
                              width, (width + 127) / 128, powerOfTwo ? "ue8m0" : "f32")
                    .str());
}
} // namespace

TEST(GpuRow, AddNormQuantiseEqualsTheCpu) {
  for (size_t width : {1, 7, 100, 128, 130, 576, 1536, 7168}) {
    BothDevices both(addNormQuantise(width, width % 2));
    for (size_t rows : {0, 1, 5, 130}) {
      if (rows * width > 100000)
        continue; // the simulator's time
      SCOPED_TRACE(llvm::formatv("{0} rows of {1}", rows, width).str());
      Random random(width + rows);
      const size_t more = 2, all = rows + more;
      Bytes h = bf16Rows(rows, more, width, random), o = bf16Rows(rows, more, width, random),
            w = bytesOf(bf16s(width, random));
      SymbolValues symbols = symbolsOf(rows);
      symbols[0] = all;
      EXPECT_EQ(0u, both.run({h, o, w, unwritten(all * width * 2), unwritten(all * width * 2), unwritten(all * width),
                              unwritten(all * ((width + 127) / 128) * 4)},
                             symbols, 3, more));
    }
  }
}

TEST(GpuRow, RowsBeyondSharedMemoryGoThroughScratch) {
  const size_t width = 26000; // 104000 bytes of values to reduce
  auto spec = specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
    ^bb0(%h: tensor<?x{0}xf32>, %w: tensor<{0}xf32>):
      %y = lm.rms_norm %h, %w {{eps = 1.0e-5 : f32} : tensor<?x{0}xf32>, tensor<{0}xf32> -> tensor<?x{0}xf32>
      lm.yield %y : tensor<?x{0}xf32>
    })",
                                   width)
                         .str());
  Random random(1);
  BothDevices both(spec);
  EXPECT_EQ(0u, both.run({floatRows(2, 0, width, random), bytesOf(random.normals(width)), unwritten(2 * width * 4)},
                         symbolsOf(2)));
}

TEST(GpuRow, NormsThatAreNotFiniteNameTheLayer) {
  BothDevices both(specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%h: tensor<?x96xf32>, %w: tensor<96xf32>):
      %y = lm.rms_norm %h, %w {eps = 1.0e-6 : f32} : tensor<?x96xf32>, tensor<96xf32> -> tensor<?x96xf32>
      lm.yield %y : tensor<?x96xf32>
    })"));
  std::vector<float> x(96 * 3, 1.0f);
  x[96 * 2 + 5] = INFINITY;
  Bytes w = bytesOf(std::vector<float>(96, 1.0f)), y = unwritten(96 * 3 * 4);
  SymbolValues two = symbolsOf(2);
  two[0] = 3;
  EXPECT_EQ(0u, both.run({bytesOf(x), w, y}, two, 6)); // the bad row is not live
  x[96 * 2 + 5] = 1e30f;                               // its square is not finite
  EXPECT_EQ(7u, both.run({bytesOf(x), w, y}, symbolsOf(3), 6));
}

TEST(GpuRow, GroupsThatAreNotFiniteNameTheLayer) {
  BothDevices both(specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%x: tensor<?x300xf32>):
      %c, %s = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x300xf32> -> tensor<?x300xf8E4M3FN>,
          tensor<?x3xf32>
      lm.yield %c, %s : tensor<?x300xf8E4M3FN>, tensor<?x3xf32>
    })"));
  std::vector<float> x(300 * 2, 1.0f);
  x[300 + 299] = INFINITY;
  EXPECT_EQ(0u, both.run({bytesOf(x), unwritten(600), unwritten(24)}, symbolsOf(1), 9)); // the bad row is not live
  // The code of infinity / infinity says NaN; its sign is the machine's own.
  Buffer in = bufferOf(x), codes(600), scales(24);
  EXPECT_EQ(10u, both.gpu.run(0, {in, codes, scales}, symbolsOf(2), 9));
  EXPECT_EQ(0x7F, codes.data<uint8_t>()[599] & 0x7F);
}

TEST(GpuRow, SwigluOfSlotsEqualsTheCpu) {
  for (size_t width : {100, 256, 2048}) {
    BothDevices both(specOf(llvm::formatv(R"(cmd.kernel @k row over slots of 4 {
      ^bb0(%x: tensor<?x{1}xbf16>, %o: tensor<3xi32>):
        %g = lm.slice %x[0] : tensor<?x{1}xbf16> -> tensor<?x{0}xbf16>
        %u = lm.slice %x[{0}] : tensor<?x{1}xbf16> -> tensor<?x{0}xbf16>
        %y = lm.swiglu %g, %u : tensor<?x{0}xbf16>, tensor<?x{0}xbf16> -> tensor<?x{0}xbf16>
        %c, %s = lm.quantize %y {{format = #lm<scale_format ue8m0>} : tensor<?x{0}xbf16> -> tensor<?x{0}xf8E4M3FN>,
            tensor<?x{2}xf32>
        lm.yield %c, %s : tensor<?x{0}xf8E4M3FN>, tensor<?x{2}xf32>
      })",
                                          width, 2 * width, (width + 127) / 128)
                                .str()));
    Random random(width);
    const size_t slots = 12;
    // Slots of other ranks: more than this rank's row has, fewer than may come.
    SymbolValues symbols = symbolsOf(1);
    symbols[size_t(moray::codegen::Symbol::ReceivedRows)] = 20;
    EXPECT_EQ(0u, both.run({bf16Rows(slots, 0, 2 * width, random), bytesOf(std::vector<int32_t>{0, 5, 11}),
                            unwritten(slots * width), unwritten(slots * ((width + 127) / 128) * 4)},
                           symbols));
  }
}

TEST(GpuRow, RopeAndItsTableEqualTheCpu) {
  for (const char *layout : {"interleaved", "half_split"})
    for (size_t dim : {10, 42, 192}) {
      const size_t heads = 3, width = heads * dim, rows = 4;
      BothDevices both(specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
        ^bb0(%r: !lm.rows, %x: tensor<?x{0}xbf16>):
          %c, %s = lm.rope_table %r {{inv_freq = array<f32: 1.0, 0.31622776, 0.1, 0.031, 1.0e-4>,
              multiplier = 1.2 : f32} : tensor<?x5xf32>, tensor<?x5xf32>
          %y = lm.rope %x, %c, %s {{head_dim = {1} : i64, layout = #lm<rope_layout {2}>} : tensor<?x{0}xbf16>,
              tensor<?x5xf32>, tensor<?x5xf32> -> tensor<?x{0}xbf16>
          lm.yield %c, %s, %y : tensor<?x5xf32>, tensor<?x5xf32>, tensor<?x{0}xbf16>
        })",
                                            width, dim, layout)
                                  .str()));
      Random random(dim);
      Bytes positions = words({0, 1, 4095, 163839});
      std::vector<Bytes> operands(5, positions);
      operands.insert(operands.end(), {bf16Rows(rows, 0, width, random), unwritten(rows * 20), unwritten(rows * 20),
                                       unwritten(rows * width * 2)});
      EXPECT_EQ(0u, both.run(operands, symbolsOf(rows)));
    }
}

TEST(GpuRow, EmbedEqualsTheCpu) {
  BothDevices both(specOf(R"(cmd.kernel @k row over rows {
    ^bb0(%t: tensor<?xi32>, %w: tensor<9x140xbf16>, %n: tensor<140xbf16>):
      %h = lm.embed %t, %w : tensor<?xi32>, tensor<9x140xbf16> -> tensor<?x140xf32>
      %b = lm.cast %h : tensor<?x140xf32> -> tensor<?x140xbf16>
      %y = lm.rms_norm %h, %n {eps = 1.0e-6 : f32} : tensor<?x140xf32>, tensor<140xbf16> -> tensor<?x140xf32>
      lm.yield %h, %b, %y : tensor<?x140xf32>, tensor<?x140xbf16>, tensor<?x140xf32>
    })"));
  Random random(12);
  const size_t pitch = 160; // 280 bytes are padded to 320
  EXPECT_EQ(0u, both.run({words({8, 0, 3, 3}), bytesOf(bf16s(9 * pitch, random)), bytesOf(bf16s(140, random)),
                          unwritten(4 * 560), unwritten(4 * 280), unwritten(4 * 560)},
                         symbolsOf(4)));
}

TEST(GpuRow, GatherTakesLiveOutputs) {
  BothDevices both(specOf(R"(cmd.kernel @k row over outs {
    ^bb0(%h: tensor<?x40xf32>, %o: tensor<?xi32>):
      %y = lm.gather_rows %h, %o : tensor<?x40xf32>, tensor<?xi32> -> tensor<?x40xf32>
      lm.yield %y : tensor<?x40xf32>
    })"));
  Random random(13);
  Bytes outs = words({3, 1, 1 << 30}); // the last is not live
  EXPECT_EQ(0u, both.run({floatRows(4, 0, 40, random), outs, unwritten(3 * 160)}, symbolsOf(4, 0, 2), 0, 1));
}

TEST(GpuRow, NormRopeAndAppendFillTheCache) {
  const size_t rows = 3, width = 272;
  BothDevices both(specOf(R"(cmd.kernel @k row over rows {
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
    })"));
  Random random(21);
  std::vector<int32_t> pages(2 * 64, -1);
  pages[1] = 2, pages[64] = 1; // sequence 0, block 1 and sequence 1, block 0; symbolsOf has 64 pages per sequence
  Bytes positions = words({70, 71, 5}), sequences = words({0, 0, 1});
  EXPECT_EQ(0u, both.run({bf16Rows(rows, 0, width, random), bytesOf(bf16s(160, random)), bytesOf(bf16s(96, random)),
                          floatRows(rows, 0, 8, random), floatRows(rows, 0, 8, random), positions, sequences, positions,
                          words(pages), positions, unwritten(3 * 64 * 112 * 2), unwritten(rows * 160 * 2)},
                         symbolsOf(rows)));
}

TEST(GpuRow, CombineAddNormEqualsTheCpu) {
  for (size_t width : {200, 1024}) {
    BothDevices both(specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
      ^bb0(%y: tensor<?x{0}xbf16>, %r: tensor<?x3xi32>, %g: tensor<?x3xf32>, %s: tensor<?x{0}xbf16>,
          %h: tensor<?x{0}xbf16>, %w: tensor<{0}xbf16>):
        %m = moe.combine %y, %r, %g : tensor<?x{0}xbf16>, tensor<?x3xi32>, tensor<?x3xf32> -> tensor<?x{0}xf32>
        %f = lm.add %m, %s : tensor<?x{0}xf32>, tensor<?x{0}xbf16> -> tensor<?x{0}xbf16>
        %a = lm.add %h, %f : tensor<?x{0}xbf16>, tensor<?x{0}xbf16> -> tensor<?x{0}xbf16>
        %n = lm.rms_norm %a, %w {{eps = 1.0e-6 : f32} : tensor<?x{0}xbf16>, tensor<{0}xbf16> -> tensor<?x{0}xbf16>
        lm.yield %a, %n : tensor<?x{0}xbf16>, tensor<?x{0}xbf16>
      })",
                                          width)
                                .str()));
    const size_t rows = 4, top = 3;
    Random random(width);
    std::vector<int32_t> ranks;
    for (size_t i = 0; i < rows * top; ++i)
      ranks.push_back(i * 5 % (rows * top));
    EXPECT_EQ(0u, both.run({bf16Rows(rows * top, 0, width, random), words(ranks), floatRows(rows, 0, top, random),
                            bf16Rows(rows, 0, width, random), bf16Rows(rows, 0, width, random),
                            bytesOf(bf16s(width, random)), unwritten(rows * width * 2), unwritten(rows * width * 2)},
                           symbolsOf(rows)));
  }
}

TEST(GpuRow, SumsAndQuantisersShareALoopAndValuesStayInScratch) {
  for (size_t width : {130, 2048}) {
    BothDevices both(specOf(llvm::formatv(R"(cmd.kernel @k row over rows {
      ^bb0(%h: tensor<?x{0}xf32>, %o: tensor<?x{0}xf32>, %w: tensor<{0}xf32>):
        %a = lm.add %h, %o : tensor<?x{0}xf32>, tensor<?x{0}xf32> -> tensor<?x{0}xf32>
        %c, %s = lm.quantize %a {{format = #lm<scale_format f32>} : tensor<?x{0}xf32> -> tensor<?x{0}xf8E4M3FN>,
            tensor<?x{1}xf32>
        %y = lm.rms_norm %a, %w {{eps = 1.0e-6 : f32} : tensor<?x{0}xf32>, tensor<{0}xf32> -> tensor<?x{0}xf32>
        %z = lm.rms_norm %y, %w {{eps = 1.0e-5 : f32} : tensor<?x{0}xf32>, tensor<{0}xf32> -> tensor<?x{0}xf32>
        lm.yield %c, %s, %z : tensor<?x{0}xf8E4M3FN>, tensor<?x{1}xf32>, tensor<?x{0}xf32>
      })",
                                          width, (width + 127) / 128)
                                .str()));
    const size_t rows = 3;
    Random random(width);
    EXPECT_EQ(0u, both.run({floatRows(rows, 0, width, random), floatRows(rows, 0, width, random),
                            bytesOf(random.normals(width)), unwritten(rows * width),
                            unwritten(rows * ((width + 127) / 128) * 4), unwritten(rows * width * 4)},
                           symbolsOf(rows)));
  }
}

TEST(GpuRow, DecodeAndPrefillTakeTheirRows) {
  for (const char *domain : {"decode", "prefill"}) {
    SCOPED_TRACE(domain);
    BothDevices both(specOf(llvm::formatv(R"(cmd.kernel @k row over {0} {{
      ^bb0(%h: tensor<?x130xf32>, %w: tensor<130xf32>):
        %y = lm.rms_norm %h, %w {{eps = 1.0e-6 : f32} : tensor<?x130xf32>, tensor<130xf32> -> tensor<?x130xf32>
        %c, %s = lm.quantize %y {{format = #lm<scale_format f32>} : tensor<?x130xf32> -> tensor<?x130xf8E4M3FN>,
            tensor<?x2xf32>
        lm.yield %y, %c, %s : tensor<?x130xf32>, tensor<?x130xf8E4M3FN>, tensor<?x2xf32>
      })",
                                          domain)
                                .str()));
    Random random(3);
    const size_t rows = 7;
    for (uint64_t decode : {0, 3, 7})
      EXPECT_EQ(0u, both.run({floatRows(rows, 0, 130, random), bytesOf(random.normals(130)), unwritten(rows * 520),
                              unwritten(rows * 130), unwritten(rows * 8)},
                             symbolsOf(rows, decode)));
  }
}
