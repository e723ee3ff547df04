//===- KernelJobs.cpp - compiling many kernels at once --------------------------===//
// A pool of workers that take the next kernel until none is left.

#include "codegen/KernelJobs.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include <atomic>
#include <mutex>
#include <thread>

using namespace moray::codegen;

DistinctKernels::DistinctKernels(llvm::ArrayRef<KernelSpec> all) {
  llvm::StringMap<size_t> indexOfKey;
  for (const KernelSpec &spec : all) {
    auto [entry, inserted] = indexOfKey.try_emplace(spec.key(), specs.size());
    if (inserted)
      specs.push_back(&spec);
    indexOf.push_back(entry->second);
  }
}

llvm::Error moray::codegen::runKernelJobs(size_t count, unsigned threads,
                                          const std::function<void(size_t, size_t)> &progress,
                                          void (*registerDialects)(mlir::DialectRegistry &),
                                          llvm::function_ref<llvm::Error(size_t, mlir::MLIRContext &)> run,
                                          llvm::function_ref<std::string(size_t)> name) {
  std::vector<std::string> errors(count);
  std::atomic<size_t> next{0};
  std::mutex progressLock;
  size_t done = 0;
  auto work = [&] {
    // One context per worker: creating it costs as much as compiling two kernels, sharing it would cost locks.
    mlir::DialectRegistry registry;
    registerDialects(registry);
    mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
    for (size_t i; (i = next.fetch_add(1)) < count;) {
      errors[i] = llvm::toString(run(i, context));
      std::lock_guard<std::mutex> lock(progressLock);
      if (progress)
        progress(++done, count);
    }
  };
  threads = threads ? threads : std::max(1u, std::thread::hardware_concurrency());
  threads = std::min<size_t>(threads, count);
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < threads; ++i)
    workers.emplace_back(work);
  if (count)
    work();
  for (std::thread &worker : workers)
    worker.join();
  for (size_t i = 0; i < count; ++i)
    if (!errors[i].empty())
      return llvm::createStringError(llvm::formatv("{0} (kernel {1})", errors[i], name(i)).str());
  return llvm::Error::success();
}

static llvm::Error cannotWrite(const std::string &path, std::error_code failure) {
  return llvm::createStringError(failure, "E3105: cannot write '" + path + "': " + failure.message());
}

llvm::Error moray::codegen::writeKernelFile(const std::string &directory, const std::string &name,
                                            llvm::ArrayRef<char> bytes) {
  std::string path = directory + "/" + name;
  std::error_code failure = llvm::sys::fs::create_directories(directory);
  return failure ? cannotWrite(path, failure) : writeKernelFile(path, bytes);
}

llvm::Error moray::codegen::writeKernelFile(const std::string &path, llvm::ArrayRef<char> bytes) {
  std::error_code failure;
  llvm::raw_fd_ostream file(path, failure);
  if (!failure) {
    file.write(bytes.data(), bytes.size());
    file.close();
    failure = file.error();
    file.clear_error(); // reported here; the destructor would end the process
  }
  return failure ? cannotWrite(path, failure) : llvm::Error::success();
}

llvm::Error moray::codegen::noEmitter(const KernelSpec &spec, llvm::StringRef machine) {
  return llvm::createStringError(
      llvm::formatv("E3101: no {0} emitter for kernels of class '{1}'", machine, kernelClassName(spec.klass)).str());
}
