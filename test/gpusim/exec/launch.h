// The simulator's core as its driver sees it: load a PTX module, look up kernels and variables, run one launch.
//
// Threads: parseModule and runKernel may be called from any host thread; a Module is immutable once parsed, so several
// launches of it may run at once. Addresses are device addresses (GlobalMemory's), sizes are bytes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gpusim {

class GlobalMemory;
struct Program;

// What the device claims to be.
struct DeviceModel {
  unsigned sm = 80;                   // compute capability times ten: 80, 86, 89 or 90
  uint32_t sharedPerBlock = 48 << 10; // without opting in
  uint32_t sharedOptIn = 163 << 10;   // largest static plus dynamic shared memory of one block
  uint32_t maxThreads = 1024;         // of a block
};

// The model of a compute capability; sharedOptIn follows from it.
DeviceModel deviceModel(unsigned sm);

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct ParseError {
  unsigned line = 0;        // in the PTX text, from 1; 0: the whole module
  std::string text;         // the line
  std::string message;      // what is wrong
  bool unsupported = false; // names a feature above the device or the module's .version/.target
  std::string str() const;  // "ptx:12: message: `text`"
};

struct KernelParam {
  uint32_t offset, size, align;
};

struct KernelInfo {
  std::string name;
  std::vector<KernelParam> params;
  uint32_t paramBytes = 0;                   // end of the last parameter
  uint32_t staticShared = 0;                 // bytes of static shared memory
  uint32_t localBytes = 0;                   // per thread, with the deepest chain of calls (recursion counted once)
  uint32_t maxThreads = 1024;                // from .maxntid/.reqntid, else the device's limit
  std::array<uint32_t, 3> requiredThreads{}; // .reqntid; zeros when absent
  uint32_t registers = 0;                    // an estimate: declared 32-bit registers, clamped to 16..255
};

struct Kernel {
  KernelInfo info;
  std::shared_ptr<const Program> program;
  unsigned function = 0; // index in the program
};

struct ModuleVariable {
  std::string name;
  uint64_t address = 0, size = 0;
};

// A parsed module. Its variables live in the GlobalMemory and are released with it.
class Module {
public:
  Module(std::shared_ptr<const Program> program, GlobalMemory &memory);
  ~Module();
  Module(const Module &) = delete;
  Module &operator=(const Module &) = delete;
  const Kernel *findKernel(std::string_view name) const;
  std::optional<ModuleVariable> findVariable(std::string_view name) const; // of .global or .const
  const std::vector<Kernel> &kernels() const { return kernelList; }
  unsigned ptxVersion() const; // major * 10 + minor, from .version
  unsigned targetSm() const;   // from .target

private:
  friend std::unique_ptr<Module> parseModule(std::string_view, const DeviceModel &, GlobalMemory &, ParseError &);
  std::shared_ptr<const Program> program;
  GlobalMemory &memory;
  std::vector<Kernel> kernelList;
};

// Null on error. Instructions or modifiers that are not known and features above the device are load errors.
std::unique_ptr<Module> parseModule(std::string_view text, const DeviceModel &device, GlobalMemory &memory,
                                    ParseError &error);

struct LaunchConfig {
  Dim3 grid, block;
  uint32_t dynamicShared = 0;
  std::vector<uint8_t> params; // laid out as KernelInfo::params say
};

// A finding of the sanitizer; the first one ends the launch.
struct Report {
  enum Kind {
    OutOfBounds,
    UseAfterFree,
    Misaligned,
    Uninitialised,
    Race,
    AsyncNotWaited, // cp.async data touched before its wait
    Deadlock,       // a barrier that some live thread never reaches
    Divergence,     // an .aligned instruction by part of a warp's live lanes
    SyncMask,       // a .sync mask naming absent lanes or lacking the executing one
    Budget,         // the kernel does not end
    Trap,
    BadInstruction, // an operand value that the instruction does not allow
  };
  Kind kind = Trap;
  std::string kernel;
  unsigned ptxLine = 0; // in the module's text, from 1
  Dim3 block{0, 0, 0};
  unsigned warp = 0, lane = 0;
  uint64_t address = 0;    // 0 where no address is concerned
  std::string space;       // "global", "shared", "local", "param", "const" or empty
  std::string allocation;  // label of the allocation or variable concerned
  std::string detail;      // one sentence: what was found
  std::string instruction; // text of the PTX line
  std::string text() const;
};
const char *kindName(Report::Kind kind);

struct ExecOptions {
  uint64_t seed = 0;           // 0: warps in order; else a seeded order
  uint64_t budget = 200000000; // warp-instructions a block may execute
  unsigned threads = 2;        // host threads that share the blocks
  std::string traceKernel;     // MORAY_GPUSIM_TRACE="kernel:block:warp"
  uint64_t traceBlock = 0;
  unsigned traceWarp = 0;
  std::string breakKernel; // MORAY_GPUSIM_BREAK="kernel:line"
  unsigned breakLine = 0;
  // Reads MORAY_GPUSIM_SEED, _BUDGET, _THREADS, _TRACE, _BREAK.
  static ExecOptions fromEnvironment();
};

// Runs all blocks; returns the first report, if any. The launch's shape must have been checked against the kernel and
// the device.
std::optional<Report> runKernel(const Kernel &kernel, GlobalMemory &memory, const LaunchConfig &launch,
                                const ExecOptions &options);

} // namespace gpusim
