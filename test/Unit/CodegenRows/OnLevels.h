//===- OnLevels.h - one check on every CPU level -----------------------*- C++ -*-===//
// Runs a check with the kernels compiled for each level that the host has.

#ifndef MORAY_TEST_UNIT_CODEGENROWS_ONLEVELS_H
#define MORAY_TEST_UNIT_CODEGENROWS_ONLEVELS_H

#include "TestKernels.h"
#include <gtest/gtest.h>

namespace moray::test {

/// Calls `check` with a runner of `specs` for every level of the host.
inline void onLevels(const std::vector<codegen::KernelSpec> &specs,
                     llvm::function_ref<void(const KernelRunner &)> check) {
  for (codegen::CpuLevel level : hostLevels()) {
    SCOPED_TRACE(codegen::getTarget(level).name.str());
    check(KernelRunner(specs, level));
  }
}

} // namespace moray::test

#endif
