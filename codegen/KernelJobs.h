//===- KernelJobs.h - compiling many kernels at once -------------------*- C++ -*-===//
// What the compile drivers of all targets share: equal kernels once, a pool of workers, files for people.

#ifndef MORAY_CODEGEN_KERNELJOBS_H
#define MORAY_CODEGEN_KERNELJOBS_H

#include "codegen/KernelSpec.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <vector>

namespace moray::codegen {

/// The distinct kernels among `all`, in the order of their first appearance; refers to `all`.
struct DistinctKernels {
  explicit DistinctKernels(llvm::ArrayRef<KernelSpec> all);
  std::vector<const KernelSpec *> specs;
  std::vector<size_t> indexOf; // parallel to `all`: index into specs
};

/// Calls `run(i, context)` for i in [0, count) on `threads` workers (0: one per core), each with a context of its own
/// on whose registry `registerDialects` was called, and `progress(done, count)` unless empty. Returns the error of the
/// lowest i that failed, with the text of `name(i)`.
llvm::Error runKernelJobs(size_t count, unsigned threads, const std::function<void(size_t, size_t)> &progress,
                          void (*registerDialects)(mlir::DialectRegistry &),
                          llvm::function_ref<llvm::Error(size_t, mlir::MLIRContext &)> run,
                          llvm::function_ref<std::string(size_t)> name);

/// Writes `bytes` to `directory`/`name`, making the directory, or to `path`. E3105 where that fails.
llvm::Error writeKernelFile(const std::string &directory, const std::string &name, llvm::ArrayRef<char> bytes);
llvm::Error writeKernelFile(const std::string &path, llvm::ArrayRef<char> bytes);

/// E3101: nothing compiles kernels of this class for `machine`.
llvm::Error noEmitter(const KernelSpec &spec, llvm::StringRef machine);

} // namespace moray::codegen

#endif
