//===- KernelRunner.h - runs compiled kernels in a test -------------*- C++ -*-===//
// Compiles specs, maps the images read + execute and calls kernels task by task, as the runtime does.

#ifndef MORAY_TEST_UNIT_CODEGEN_KERNELRUNNER_H
#define MORAY_TEST_UNIT_CODEGEN_KERNELRUNNER_H

#include "codegen/Emitter.h"
#include "runtime/schema/kernel_abi.h"
#include <array>
#include <memory>
#include <vector>

namespace moray::test {

/// Values of the symbols, in the order of codegen::Symbol.
using SymbolValues = std::array<uint64_t, size_t(codegen::Symbol::ReceivedRows) + 1>;
uint64_t evaluate(const codegen::SizeExpr &expression, const SymbolValues &symbols);
/// Symbols of a step with `rows` rows of which `decodeRows` decode, and `outs` output rows; capacities are the same
/// numbers, and there is one rank.
SymbolValues symbolsOf(uint64_t rows, uint64_t decodeRows = 0, uint64_t outs = 0);

/// Memory aligned to 64 bytes with a guard page right behind the last byte, so that reads beyond an operand fault. With
/// `exactEnd` the data ends at the page (alignment then is that of the size).
class Buffer {
public:
  explicit Buffer(size_t bytes, bool exactEnd = false);
  ~Buffer();
  Buffer(const Buffer &) = delete;
  Buffer(Buffer &&other) noexcept;
  template <typename T = void> T *data() const { return static_cast<T *>(start); }
  size_t size() const { return bytes; }

private:
  void *mapping = nullptr, *start = nullptr;
  size_t mapped = 0, bytes = 0;
};

/// Compiled kernels of one level, callable.
class KernelRunner {
public:
  struct Options {
    uint64_t layer = 0;
    unsigned threads = 1;
    bool reverse = false; // tasks in descending order
  };
  /// `specs` must compile; a failure throws std::runtime_error with the message.
  KernelRunner(const std::vector<codegen::KernelSpec> &specs, codegen::CpuLevel level);
  ~KernelRunner();
  KernelRunner(const KernelRunner &) = delete;

  /// Runs all tasks of kernel `index`; returns the fault word.
  uint32_t run(size_t index, const std::vector<void *> &operands, const SymbolValues &symbols,
               const Options &options) const;
  uint32_t run(size_t index, const std::vector<void *> &operands, const SymbolValues &symbols) const {
    return run(index, operands, symbols, Options());
  }
  const codegen::CompiledImage &image() const { return compiled; }

private:
  codegen::CompiledImage compiled;
  std::vector<codegen::CompiledVariant> variants; // by kernel
  void *code = nullptr;
};

/// The levels that this machine can run.
std::vector<codegen::CpuLevel> hostLevels();

} // namespace moray::test

#endif
