//===- WeightSource.h - where stored weights come from ---------------*- C++ -*-===//
// The stream of checkpoint bytes that the packager reads; the adapter over a checkpoint lives with the tool.

#ifndef MORAY_CODEGEN_PACKAGE_WEIGHTSOURCE_H
#define MORAY_CODEGEN_PACKAGE_WEIGHTSOURCE_H

#include "codegen/KernelSpec.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

class WeightSource {
public:
  virtual ~WeightSource() = default;
  /// Elements [first, first + count) of a checkpoint tensor in row-major order, as `type`, little endian. Values that
  /// no model may contain (NaN, non-positive scales) are errors that name the tensor. Called from one thread.
  virtual llvm::Error read(llvm::StringRef tensor, DType type, uint64_t first, uint64_t count, uint8_t *out) = 0;
};

} // namespace moray::codegen

#endif
