//===- Emitter.cpp - the table of emitters and the compile driver -------------===//
// Finds the emitter of a class and compiles kernels in parallel: equal ones once, bytes independent of the number of
// threads.

#include "codegen/Emitter.h"
#include "codegen/X86/LinkImage.h"
#include "codegen/X86/LowerToObject.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include <atomic>
#include <thread>

using namespace moray::codegen;

const Emitter *moray::codegen::findEmitter(KernelClass klass) {
  static const Emitter *const emitters[] = {&gemmEmitter,    &groupedGemmEmitter, &rowEmitter,      &routerEmitter,
                                            &permuteEmitter, &attentionEmitter,   &samplingEmitter, &probeEmitter};
  for (const Emitter *emitter : emitters)
    if (emitter->klass == klass)
      return emitter;
  return nullptr;
}

namespace {
/// One (kernel, level) to compile; results are written by exactly one worker.
struct Job {
  const KernelSpec *spec;
  const Target *target;
  std::vector<char> object;
  std::string error;
};
} // namespace

static llvm::Error writeObject(const std::string &directory, const Job &job) {
  std::string path = llvm::formatv("{0}/{1}.{2}.o", directory, job.spec->symbol(), job.target->name);
  std::error_code failure = llvm::sys::fs::create_directories(directory);
  if (!failure) {
    llvm::raw_fd_ostream file(path, failure);
    if (!failure)
      file.write(job.object.data(), job.object.size());
  }
  return failure ? llvm::createStringError(failure, "E3105: cannot write '" + path + "': " + failure.message())
                 : llvm::Error::success();
}

static void compileJob(Job &job, mlir::MLIRContext &context, const CompileOptions &options) {
  auto module = buildKernelModule(*job.spec, *job.target, context);
  if (!module) {
    job.error = llvm::toString(module.takeError());
    return;
  }
  auto object = lowerToObject(**module, *job.target);
  if (!object) {
    job.error = llvm::toString(object.takeError());
    return;
  }
  job.object = std::move(*object);
  if (!options.objectDir.empty())
    job.error = llvm::toString(writeObject(options.objectDir, job));
}

static void runJobs(std::vector<Job> &jobs, const CompileOptions &options) {
  initialiseX86();
  std::atomic<size_t> next{0};
  auto work = [&] {
    // One context per worker: creating it costs as much as compiling two kernels, sharing it would cost locks.
    mlir::DialectRegistry registry;
    registerKernelDialects(registry);
    mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
    for (size_t i; (i = next.fetch_add(1)) < jobs.size();)
      compileJob(jobs[i], context, options);
  };
  unsigned threads = options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  threads = std::min<size_t>(threads, jobs.size());
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < threads; ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
}

llvm::Expected<std::vector<CompiledImage>> moray::codegen::compileKernels(llvm::ArrayRef<KernelSpec> specs,
                                                                          const CompileOptions &options) {
  std::vector<const KernelSpec *> unique; // in input order
  llvm::StringMap<size_t> indexOfKey;
  std::vector<size_t> uniqueIndex; // parallel to specs
  for (const KernelSpec &spec : specs) {
    if (!findEmitter(spec.klass))
      return llvm::createStringError(
          llvm::formatv("E3101: no emitter for kernels of class '{0}'", kernelClassName(spec.klass)).str());
    auto [entry, inserted] = indexOfKey.try_emplace(spec.key(), unique.size());
    if (inserted)
      unique.push_back(&spec);
    uniqueIndex.push_back(entry->second);
  }
  std::vector<Job> jobs;
  for (CpuLevel level : options.levels)
    for (const KernelSpec *spec : unique)
      jobs.push_back({spec, &getTarget(level), {}, {}});
  if (!jobs.empty())
    runJobs(jobs, options);

  std::vector<CompiledImage> images;
  for (size_t l = 0; l < options.levels.size(); ++l) {
    std::vector<std::vector<char>> objects;
    std::vector<std::string> names;
    for (size_t k = 0; k < unique.size(); ++k) {
      Job &job = jobs[l * unique.size() + k];
      if (!job.error.empty())
        return llvm::createStringError(
            llvm::formatv("{0} (kernel {1}, level {2})", job.error, job.spec->key(), job.target->name).str());
      objects.push_back(std::move(job.object));
      names.push_back(job.spec->symbol());
    }
    auto linked = linkImage(objects, names);
    if (!linked)
      return linked.takeError();
    CompiledImage image{options.levels[l], std::move(linked->bytes), {}};
    for (size_t i = 0; i < specs.size(); ++i) {
      const LinkedSymbol &symbol = linked->symbols[uniqueIndex[i]];
      image.variants.push_back(
          {symbol.offset, symbol.size, findEmitter(specs[i].klass)->plan(specs[i], getTarget(options.levels[l]))});
    }
    images.push_back(std::move(image));
  }
  return images;
}
