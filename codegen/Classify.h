//===- Classify.h - from kernel regions to specs --------------------*- C++ -*-===//
// The one function that derives a KernelSpec from the region of an lm.kernel or cmd.kernel.

#ifndef MORAY_CODEGEN_CLASSIFY_H
#define MORAY_CODEGEN_CLASSIFY_H

#include "codegen/KernelSpec.h"
#include "mlir/IR/Operation.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

/// `kernel` is an lm.kernel or a cmd.kernel. Errors are "E3xxx: ..." texts: the class has no emitter, or its emitter
/// cannot compute what the region says.
llvm::Expected<KernelSpec> classify(mlir::Operation *kernel);

} // namespace moray::codegen

#endif
