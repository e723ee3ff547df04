//===- KernelRunner.cpp - runs compiled kernels in a test ---------------------===//
// Executable mappings, guarded buffers, a postfix evaluator and a small thread loop.

#include "KernelRunner.h"
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <xmmintrin.h>

using namespace moray::codegen;
using namespace moray::test;

uint64_t moray::test::evaluate(const SizeExpr &expression, const SymbolValues &symbols) {
  std::vector<uint64_t> stack;
  for (const ExprOp &op : expression.postfix()) {
    if (op.kind == ExprKind::Const || op.kind == ExprKind::Symbol) {
      stack.push_back(op.kind == ExprKind::Const ? op.value : symbols.at(op.value));
      continue;
    }
    uint64_t b = stack.back();
    stack.pop_back();
    uint64_t &a = stack.back();
    switch (op.kind) {
    case ExprKind::Add:
      a += b;
      break;
    case ExprKind::Mul:
      a *= b;
      break;
    case ExprKind::CeilDiv:
      a = (a + b - 1) / b;
      break;
    case ExprKind::Min:
      a = std::min(a, b);
      break;
    case ExprKind::Max:
      a = std::max(a, b);
      break;
    default:
      a = (a + b - 1) / b * b;
    }
  }
  return stack.back();
}

SymbolValues moray::test::symbolsOf(uint64_t rows, uint64_t decodeRows, uint64_t outs) {
  return {rows, rows, std::max<uint64_t>(outs, 1), 64, 256, rows, decodeRows, rows, outs, rows - decodeRows, 1, rows};
}

Buffer::Buffer(size_t bytes, bool exactEnd) : bytes(bytes) {
  size_t page = sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
  mapped = body + page;
  mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED)
    throw std::runtime_error("out of memory");
  mprotect(static_cast<char *>(mapping) + body, page, PROT_NONE);
  size_t offset = body - bytes;
  start = static_cast<char *>(mapping) + (exactEnd ? offset : offset / 64 * 64);
}
Buffer::Buffer(Buffer &&other) noexcept
    : mapping(other.mapping), start(other.start), mapped(other.mapped), bytes(other.bytes) {
  other.mapping = nullptr;
}
Buffer::~Buffer() {
  if (mapping)
    munmap(mapping, mapped);
}

KernelRunner::KernelRunner(const std::vector<KernelSpec> &specs, CpuLevel level) {
  CompileOptions options;
  options.levels = {level};
  auto kernels = compileKernels(specs, options);
  if (!kernels)
    throw std::runtime_error(llvm::toString(kernels.takeError()));
  compiled = std::move(kernels->images.front());
  for (std::vector<CompiledVariant> &kernel : kernels->variants)
    variants.push_back(std::move(kernel.front()));
  code = mmap(nullptr, compiled.bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(code, compiled.bytes.data(), compiled.bytes.size());
  mprotect(code, compiled.bytes.size(), PROT_READ | PROT_EXEC);
}
KernelRunner::~KernelRunner() { munmap(code, compiled.bytes.size()); }

uint32_t KernelRunner::run(size_t index, const std::vector<void *> &operands, const SymbolValues &symbols,
                           const Options &options) const {
  const CompiledVariant &variant = variants.at(index);
  auto kernel = reinterpret_cast<moray_kernel_fn>(static_cast<char *>(code) + variant.entry);
  int32_t live[4] = {int32_t(symbols[5]), int32_t(symbols[6]), int32_t(symbols[7]), int32_t(symbols[8])};
  moray_kernel_args args{operands.data(), live, symbols.data(), options.layer};
  uint64_t tasks = evaluate(variant.tasks, symbols);
  uint32_t fault = 0;
  std::atomic<uint64_t> next{0};
  auto work = [&] {
    _mm_setcsr(0x1F80);
    Buffer scratch(std::max<uint64_t>(evaluate(variant.scratchBytes, symbols), 64));
    for (uint64_t t; (t = next++) < tasks;)
      kernel(&args, options.reverse ? tasks - 1 - t : t, scratch.data(), &fault);
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < options.threads; ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
  return fault;
}

std::vector<CpuLevel> moray::test::hostLevels() {
  std::vector<CpuLevel> levels;
  for (CpuLevel level : {CpuLevel::X86_64_V3, CpuLevel::Avx512})
    if (hostSupports(level))
      levels.push_back(level);
  return levels;
}
