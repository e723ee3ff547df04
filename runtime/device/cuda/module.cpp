// Cubins where they fit, else PTX that the driver compiles; functions are looked up before anything is captured.
#include "runtime/device/cuda/module.h"
#include "runtime/artifact/checker.h"
#include <cstdio>
#include <cstring>

namespace moray::rt::cuda {

using schema::DeviceKind;
using schema::ImageKind;

constexpr unsigned kLowestChip = 80, kFp8Chip = 89; // the targets that the compiler knows
constexpr uint32_t kSharedWithoutAsking = 48 << 10; // more must be allowed for each function

static bool hasTarget(const Artifact &artifact, DeviceKind device) {
  for (const schema::Target *target : *artifact.metadata().targets())
    if (target->device() == device)
      return true;
  return false;
}

std::string targetHint(const Artifact &artifact, unsigned sm) {
  const bool cpu = hasTarget(artifact, DeviceKind::Cpu);
  const std::string text = "the artifact has code for " + listTargets(artifact) + "; ";
  const std::string compile = "moray-compile MODEL_DIR -o OUT.moray --target=";
  // More GPU code does not help where the GPU or its driver is what lacks.
  if (sm < kLowestChip && hasTarget(artifact, DeviceKind::Cuda))
    return text + (cpu ? "run it with --device=cpu" : "compile for the CPU: " + compile + "cpu");
  return text + (cpu ? "run it with --device=cpu, or " : "") + "compile for a GPU: " + compile + (cpu ? "cpu," : "") +
         (sm < kFp8Chip ? "cuda:sm_80" : "cuda:sm_89");
}

static const schema::Variant *findPtx(const Artifact &artifact, const schema::Kernel &kernel, unsigned sm) {
  const schema::Variant *best = nullptr;
  uint32_t bestSm = 0;
  for (const schema::Variant *variant : *kernel.variants()) {
    const schema::Image &image = *artifact.metadata().images()->Get(variant->image());
    if (image.kind() == ImageKind::Ptx && image.sm() <= sm && image.sm() >= bestSm) {
      best = variant;
      bestSm = image.sm();
    }
  }
  return best;
}

static const schema::Variant *findCubin(const Artifact &artifact, const schema::Kernel &kernel, unsigned sm) {
  const schema::Variant *best = nullptr;
  uint32_t bestSm = 0;
  for (const schema::Variant *variant : *kernel.variants()) {
    const schema::Image &image = *artifact.metadata().images()->Get(variant->image());
    if (image.kind() == ImageKind::Cubin && image.sm() / 10 == sm / 10 && image.sm() <= sm && image.sm() >= bestSm) {
      best = variant;
      bestSm = image.sm();
    }
  }
  return best;
}

Status anyCode(const Artifact &artifact, TargetCode &code) {
  for (uint32_t t = 0; t < artifact.targetCount(); ++t) {
    const schema::Target &target = artifact.target(t);
    if (target.device() != DeviceKind::Cuda)
      continue;
    code = {t, &target, {}};
    for (uint32_t k = 0; k < sizeOf(target.kernels()); ++k)
      code.variants.push_back(target.kernels()->Get(k)->variants()->Get(0));
    return {};
  }
  return fail(kE4026, "nothing in the artifact runs on a GPU: %s", targetHint(artifact, 0).c_str());
}

Status chooseCode(const Artifact &artifact, const Driver &driver, TargetCode &code) {
  if (!hasTarget(artifact, DeviceKind::Cuda))
    return anyCode(artifact, code);
  code = {};
  for (uint32_t t = 0; t < artifact.targetCount(); ++t) {
    const schema::Target &target = artifact.target(t);
    if (target.device() == DeviceKind::Cuda && target.sm() <= driver.sm() &&
        (!code.target || target.sm() > code.target->sm()))
      code = {t, &target, {}};
  }
  if (!code.target)
    return fail(kE4026, "no code of the artifact runs on %s (compute capability %u.%u%s): %s", driver.name(),
                driver.sm() / 10, driver.sm() % 10, driver.sm() < kLowestChip ? ", older than Moray supports" : "",
                targetHint(artifact, driver.sm()).c_str());
  for (uint32_t k = 0; k < sizeOf(code.target->kernels()); ++k) {
    const schema::Kernel &kernel = *code.target->kernels()->Get(k);
    const schema::Variant *variant = findCubin(artifact, kernel, driver.sm());
    variant = variant ? variant : findPtx(artifact, kernel, driver.sm());
    const moray_string name = artifact.text(kernel.name());
    if (!variant)
      return fail(kE4026, "kernel '%.*s' has neither a cubin nor PTX for %s (compute capability %u.%u): %s",
                  static_cast<int>(name.size), name.data, driver.name(), driver.sm() / 10, driver.sm() % 10,
                  targetHint(artifact, driver.sm()).c_str());
    code.variants.push_back(variant);
  }
  return {};
}

Modules::~Modules() {
  for (Module module : modules)
    if (module)
      driver->moduleUnload(module);
}

Status Modules::load(const Artifact &artifact, TargetCode &code) {
  MORAY_TRY(driver.attribute(kMaxSharedPerBlockOptin, sharedLimit));
  modules.assign(sizeOf(artifact.metadata().images()), nullptr);
  for (uint32_t k = 0; k < code.variants.size(); ++k)
    MORAY_TRY(loadKernel(artifact, code, k));
  return {};
}

Status Modules::loadKernel(const Artifact &artifact, TargetCode &code, uint32_t kernel) {
  const schema::Kernel &source = *code.target->kernels()->Get(kernel);
  const auto *images = artifact.metadata().images();
  Result result = kSuccess;
  Status status = loadImage(artifact, code.variants[kernel]->image(), result);
  const schema::Variant *fallback = findPtx(artifact, source, driver.sm());
  if (result == kNoBinaryForGpu && fallback && fallback != code.variants[kernel]) {
    code.variants[kernel] = fallback;
    status = loadImage(artifact, fallback->image(), result);
  }
  MORAY_TRY(std::move(status));
  const schema::Variant &variant = *code.variants[kernel];
  ptx.push_back(images->Get(variant.image())->kind() == ImageKind::Ptx);
  first.push_back(functions.size());
  for (const schema::Stage *stage : *variant.stages())
    MORAY_TRY(loadStage(artifact, variant, *stage, artifact.text(source.name())));
  return {};
}

Status Modules::checkPtx(const Artifact &artifact, const schema::Image &image) const {
  const int needed = driverForPtx(image.ptx_version());
  if (image.kind() != ImageKind::Ptx || needed <= driver.version())
    return {};
  return fail(kE5018,
              "the PTX of the artifact has version %u.%u, which needs a driver of CUDA %d.%d, this one is of %d.%d; "
              "update the driver, or compile the model where ptxas is found, so that the artifact has cubins; %s",
              image.ptx_version() / 10, image.ptx_version() % 10, needed / 1000, needed % 1000 / 10,
              driver.version() / 1000, driver.version() % 1000 / 10, targetHint(artifact, 0).c_str());
}

// `result` is the driver's own answer.
Status Modules::loadImage(const Artifact &artifact, uint32_t index, Result &result) {
  result = kSuccess;
  if (modules[index])
    return {};
  const schema::Image &image = *artifact.metadata().images()->Get(index);
  MORAY_TRY(checkPtx(artifact, image));
  char log[4096] = {};
  JitOption names[] = {kErrorLogBuffer, kErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(uintptr_t{sizeof(log) - 1})};
  const void *data = artifact.section(MORAY_SECTION_CODE).data() + image.offset();
  result = driver->moduleLoadDataEx(&modules[index], data, 2, names, values);
  if (result == kSuccess)
    return {};
  modules[index] = nullptr;
  char what[4608];
  snprintf(what, sizeof(what), "loading image %u (%s for sm_%u)%s%s", index,
           image.kind() == ImageKind::Ptx ? "PTX" : "cubin", image.sm(), log[0] ? ", log: " : "", log);
  return driver.check(result, what);
}

Status Modules::loadStage(const Artifact &artifact, const schema::Variant &variant, const schema::Stage &stage,
                          moray_string kernel) {
  const moray_string entry = artifact.text(stage.entry());
  const std::string name(entry.data, entry.size);
  const std::string what = "looking up '" + name + "' of kernel '" + std::string(kernel.data, kernel.size) + "'";
  Function function = nullptr;
  int threads = 0;
  MORAY_TRY(driver.check(driver->moduleGetFunction(&function, modules[variant.image()], name.c_str()), what.c_str()));
  // This also makes a driver that loads lazily load the function now.
  MORAY_TRY(driver.check(driver->funcGetAttribute(&threads, kMaxThreadsPerBlock, function), what.c_str()));
  const uint32_t shared = stage.static_shared() + stage.dynamic_shared();
  if (stage.threads() > static_cast<uint32_t>(threads) || shared > static_cast<uint32_t>(sharedLimit))
    return fail(kE4026,
                "'%s' runs blocks of %u threads with %u bytes of shared memory, %s has at most %d and %d for it; %s",
                name.c_str(), stage.threads(), shared, driver.name(), threads, sharedLimit,
                targetHint(artifact, driver.sm()).c_str());
  if (shared > kSharedWithoutAsking)
    MORAY_TRY(driver.check(
        driver->funcSetAttribute(function, kMaxDynamicSharedBytes, static_cast<int>(stage.dynamic_shared())),
        what.c_str()));
  functions.push_back(function);
  return {};
}

} // namespace moray::rt::cuda
