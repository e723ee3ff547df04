// One launch: blocks are shared out to host threads; the first report ends it. Options and the text of reports.
#include "test/gpusim/exec/launch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "test/gpusim/exec/warp.h"

namespace gpusim {
namespace {

// Splits "a:b:c" at the last colons; kernel names have none.
std::vector<std::string> splitColons(const std::string &text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == ':')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// The constant pools of a launch: shared variables lie where this kernel's layout puts them.
struct Pools {
  std::vector<std::vector<uint64_t>> own;
  std::vector<const uint64_t *> byFunction;

  Pools(const Program &program, const KernelLayout &layout) : byFunction(program.functions.size()) {
    for (uint32_t index : layout.functions) {
      const Function &function = program.functions[index];
      byFunction[index] = function.poolLanes.data();
      if (!function.poolHasShared)
        continue;
      std::vector<uint64_t> lanes = function.poolLanes;
      for (size_t i = 0; i < function.pool.size(); ++i)
        for (const SharedPlacement &placed : layout.shared)
          if (placed.variable == function.pool[i].sharedVariable)
            std::fill_n(lanes.begin() + i * 32, 32, function.pool[i].value + placed.offset);
      own.push_back(std::move(lanes));
      byFunction[index] = own.back().data();
    }
  }
};

class Launch {
public:
  Launch(const Kernel &kernel, GlobalMemory &memory, const LaunchConfig &config, const ExecOptions &options)
      : kernel(kernel), memory(memory), config(config), options(options),
        pools(*kernel.program, kernel.program->layouts[kernel.function]),
        blocks(uint64_t(config.grid.x) * config.grid.y * config.grid.z) {}

  std::optional<Report> run() {
    unsigned count = static_cast<unsigned>(std::min<uint64_t>(std::max(1u, options.threads), blocks));
    std::vector<std::thread> others;
    for (unsigned i = 1; i < count; ++i)
      others.emplace_back([this] { work(); });
    work();
    for (std::thread &thread : others)
      thread.join();
    return report;
  }

private:
  void work() {
    Block block;
    block.program = kernel.program.get();
    block.layout = &kernel.program->layouts[kernel.function];
    block.info = &kernel.info;
    block.kernelFunction = kernel.function;
    block.memory = &memory;
    block.launch = &config;
    block.options = &options;
    block.pools = &pools.byFunction;
    block.stop = &stop;
    while (!stop.load(std::memory_order_relaxed)) {
      uint64_t linear = next.fetch_add(1);
      if (linear >= blocks)
        return;
      try {
        block.start(linear);
        block.run();
      } catch (const Fault &fault) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!report || linear < reportBlock) {
          report = fault.report;
          reportBlock = linear;
        }
        stop.store(true);
      }
    }
  }

  const Kernel &kernel;
  GlobalMemory &memory;
  const LaunchConfig &config;
  const ExecOptions &options;
  Pools pools;
  uint64_t blocks;
  std::atomic<uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex; // guards report and reportBlock
  std::optional<Report> report;
  uint64_t reportBlock = 0;
};

} // namespace

std::optional<Report> runKernel(const Kernel &kernel, GlobalMemory &memory, const LaunchConfig &launch,
                                const ExecOptions &options) {
  return Launch(kernel, memory, launch, options).run();
}

ExecOptions ExecOptions::fromEnvironment() {
  ExecOptions options;
  options.seed = number("MORAY_GPUSIM_SEED", options.seed);
  options.budget = number("MORAY_GPUSIM_BUDGET", options.budget);
  options.threads = static_cast<unsigned>(number("MORAY_GPUSIM_THREADS", options.threads));
  if (const char *trace = std::getenv("MORAY_GPUSIM_TRACE")) {
    std::vector<std::string> parts = splitColons(trace);
    parts.resize(3);
    options.traceKernel = parts[0];
    options.traceBlock = std::strtoull(parts[1].c_str(), nullptr, 0);
    options.traceWarp = static_cast<unsigned>(std::strtoul(parts[2].c_str(), nullptr, 0));
  }
  if (const char *stopAt = std::getenv("MORAY_GPUSIM_BREAK")) {
    std::vector<std::string> parts = splitColons(stopAt);
    parts.resize(2);
    options.breakKernel = parts[0];
    options.breakLine = static_cast<unsigned>(std::strtoul(parts[1].c_str(), nullptr, 0));
  }
  return options;
}

const char *kindName(Report::Kind kind) {
  switch (kind) {
  case Report::OutOfBounds:
    return "out of bounds";
  case Report::UseAfterFree:
    return "use after free";
  case Report::Misaligned:
    return "misaligned";
  case Report::Uninitialised:
    return "uninitialised";
  case Report::Race:
    return "race";
  case Report::AsyncNotWaited:
    return "cp.async not waited for";
  case Report::Deadlock:
    return "deadlock";
  case Report::Divergence:
    return "divergence";
  case Report::SyncMask:
    return "sync mask";
  case Report::Budget:
    return "budget";
  case Report::Trap:
    return "trap";
  case Report::BadInstruction:
    return "bad instruction";
  }
  return "";
}

std::string Report::text() const {
  char where[160], what[64] = "";
  std::snprintf(where, sizeof where, "PTX line %u, block (%u,%u,%u), warp %u, lane %u", ptxLine, block.x, block.y,
                block.z, warp, lane);
  if (!space.empty())
    std::snprintf(what, sizeof what, ", %s address 0x%llx", space.c_str(), static_cast<unsigned long long>(address));
  return std::string("gpusim: ") + kindName(kind) + ": kernel " + kernel + ", " + where + what +
         (allocation.empty() ? "" : " (" + allocation + ")") + ": " + detail +
         (instruction.empty() ? "" : "\n  " + instruction);
}

} // namespace gpusim
