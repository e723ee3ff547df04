// Levels of CPU code: later levels may improve only some kernels, so each kernel takes its best one up to the level.
#include "runtime/device/cpu/cpu_code.h"
#include "runtime/artifact/checker.h"
#include "runtime/device/cpu/cpu_level.h"
#include <cstring>

namespace moray::rt {

using schema::CpuLevel;

// The variant of the highest level up to `level`: later levels may improve only some kernels.
static const schema::Variant *findVariant(const Artifact &artifact, const schema::Kernel &kernel, CpuLevel level) {
  const schema::Variant *best = nullptr;
  CpuLevel bestLevel = {};
  for (const schema::Variant *variant : *kernel.variants()) {
    const CpuLevel have = artifact.metadata().images()->Get(variant->image())->level();
    if (have <= level && (!best || have > bestLevel)) {
      best = variant;
      bestLevel = have;
    }
  }
  return best;
}

static bool hasLevel(const Artifact &artifact, const schema::Target &target, CpuLevel level) {
  bool exactly = false;
  for (uint32_t i = 0; i < sizeOf(target.kernels()); ++i) {
    const schema::Variant *variant = findVariant(artifact, *target.kernels()->Get(i), level);
    if (!variant)
      return false;
    exactly = exactly || artifact.metadata().images()->Get(variant->image())->level() == level;
  }
  return exactly;
}

// Takes the first CPU target with code for `level`; false where there is none.
static bool takeLevel(const Artifact &artifact, CpuLevel level, TargetCode &code) {
  for (uint32_t t = 0; t < artifact.targetCount(); ++t) {
    const schema::Target &target = artifact.target(t);
    if (target.device() != schema::DeviceKind::Cpu || !hasLevel(artifact, target, level))
      continue;
    code = {t, &target, {}};
    for (uint32_t k = 0; k < sizeOf(target.kernels()); ++k)
      code.variants.push_back(findVariant(artifact, *target.kernels()->Get(k), level));
    return true;
  }
  return false;
}

static Status forceLevel(const Artifact &artifact, const char *name, TargetCode &code, CpuLevel &level) {
  MORAY_TRY(parseCpuLevel(name, level));
  if (!takeLevel(artifact, level, code))
    return fail(
        kE4022,
        "the artifact has no kernels for CPU level %s, its targets are %s; compile it with this level, or force "
        "another or none",
        name, listTargets(artifact).c_str());
  if (!hasCpuLevel(level))
    return fail(kE4022, "this machine cannot execute CPU level %s; force a lower level or none", name);
  return {};
}

Status chooseCpuCode(const Artifact &artifact, const char *name, TargetCode &code, CpuLevel &level) {
  if (name && strcmp(name, "auto") != 0)
    return forceLevel(artifact, name, code, level);
  bool found = false;
  for (CpuLevel candidate : schema::EnumValuesCpuLevel())
    if (hasCpuLevel(candidate) && takeLevel(artifact, candidate, code)) {
      level = candidate;
      found = true;
    }
  if (found)
    return {};
  return fail(
      kE4022,
      "the artifact has no kernels for any CPU level of this machine, its targets are %s; compile the model with "
      "--target=cpu for a level that it has, at least x86-64-v3, or run it on a GPU with --device=cuda",
      listTargets(artifact).c_str());
}

bool anyCpuCode(const Artifact &artifact, TargetCode &code) {
  for (CpuLevel level : schema::EnumValuesCpuLevel())
    if (takeLevel(artifact, level, code))
      return true;
  return false;
}

} // namespace moray::rt
