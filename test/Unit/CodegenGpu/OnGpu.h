//===- OnGpu.h - one kernel on a CPU and on a GPU ----------------------*- C++ -*-===//
// Runs a spec with the same operands on both and compares every byte of every operand and the fault words.

#ifndef MORAY_TEST_UNIT_CODEGENGPU_ONGPU_H
#define MORAY_TEST_UNIT_CODEGENGPU_ONGPU_H

#include "../CodegenRows/TestKernels.h"
#include "GpuRunner.h"
#include <gtest/gtest.h>

namespace moray::test {

using Bytes = std::vector<char>;

template <typename T> Bytes bytesOf(const std::vector<T> &values) {
  auto begin = reinterpret_cast<const char *>(values.data());
  return Bytes(begin, begin + values.size() * sizeof(T));
}
/// Bytes that no kernel writes by chance, for results.
inline Bytes unwritten(size_t bytes) { return Bytes(bytes, char(0xC7)); }

/// A spec compiled for a CPU and for sm_80. One at a time, as its GpuRunner.
class BothDevices {
public:
  explicit BothDevices(const codegen::KernelSpec &spec)
      : cpu({spec}, codegen::CpuLevel::X86_64_V3), gpu({spec}, *codegen::findGpuTarget("cuda:sm_80")) {}

  /// Runs both on copies of `operands`; returns the fault word. `symbols` has the live counts. The GPU's grid is made
  /// for `surplus` live rows and outputs more, which must change nothing.
  uint32_t run(const std::vector<Bytes> &operands, const SymbolValues &symbols, uint64_t layer = 0,
               uint64_t surplus = 0) {
    std::vector<Buffer> ours, theirs;
    std::vector<void *> pointers;
    std::vector<Memory> memories;
    for (const Bytes &bytes : operands) {
      ours.push_back(bufferOf(bytes)), theirs.push_back(bufferOf(bytes));
      pointers.push_back(ours.back().data()), memories.push_back(theirs.back());
    }
    KernelRunner::Options options;
    options.layer = layer;
    uint32_t fault = cpu.run(0, pointers, symbols, options);
    SymbolValues host = symbols;
    host[5] += surplus, host[8] += surplus;
    std::array<int32_t, 4> live = {int32_t(symbols[5]), int32_t(symbols[6]), int32_t(symbols[7]), int32_t(symbols[8])};
    EXPECT_EQ(fault, gpu.run(0, memories, host, live, layer));
    for (size_t i = 0; i < ours.size(); ++i) {
      const char *a = ours[i].data<char>(), *b = theirs[i].data<char>();
      size_t first = std::mismatch(a, a + ours[i].size(), b).first - a;
      EXPECT_EQ(ours[i].size(), first) << "operand " << i << " differs from this byte on";
    }
    return fault;
  }

  KernelRunner cpu;
  GpuRunner gpu;
};

} // namespace moray::test

#endif
