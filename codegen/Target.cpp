//===- Target.cpp - CPU levels and GPU generations ----------------------------===//
// Their parameters, and the check for what the host has.

#include "codegen/Target.h"
#include "llvm/TargetParser/Host.h"

using namespace moray::codegen;

static const Target levels[] = {
    {CpuLevel::X86_64_V3, "x86-64-v3", "x86-64-v3", "", 8, 16, 32 << 10, 256 << 10},
    {CpuLevel::Avx512, "avx512", "x86-64-v4", "-prefer-256-bit", 16, 32, 32 << 10, 1 << 20},
};

const Target &moray::codegen::getTarget(CpuLevel level) { return levels[level == CpuLevel::X86_64_V3 ? 0 : 1]; }

std::optional<CpuLevel> moray::codegen::parseCpuLevel(llvm::StringRef name) {
  for (const Target &t : levels)
    if (t.name == name)
      return t.level;
  return std::nullopt;
}

bool moray::codegen::hostSupports(CpuLevel level) {
  auto has = [features = llvm::sys::getHostCPUFeatures()](std::initializer_list<const char *> names) {
    return std::all_of(names.begin(), names.end(), [&](const char *n) { return features.lookup(n); });
  };
  bool v3 = has({"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"});
  bool avx512 = v3 && has({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"});
  switch (level) {
  case CpuLevel::X86_64_V3:
    return v3;
  case CpuLevel::Avx512:
    return avx512;
  case CpuLevel::Amx:
    return avx512 && has({"amx-tile", "amx-bf16"});
  }
  return false;
}

// sm_86 and sm_89 allow 99 KiB to a block, sm_80 163, sm_90 227: code that runs on all of them takes the least.
static const unsigned ampere[] = {80, 86, 89, 90}, ada[] = {89, 90};
static const GpuTarget gpuTargets[] = {
    {80, "cuda:sm_80", "sm_80", "+ptx70", 70, false, 99 << 10, 108, ampere},
    {89, "cuda:sm_89", "sm_89", "+ptx84", 84, true, 99 << 10, 128, ada},
};

llvm::ArrayRef<GpuTarget> moray::codegen::allGpuTargets() { return gpuTargets; }

const GpuTarget *moray::codegen::findGpuTarget(llvm::StringRef name) {
  for (const GpuTarget &target : gpuTargets)
    if (target.name == name)
      return &target;
  return nullptr;
}
