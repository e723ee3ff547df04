//===- gpu.cpp - Running one kernel of a PTX file through the driver API ---===//
//
// Opens the driver or the simulator and moves arguments and results.
//
//===----------------------------------------------------------------------===//
#include "gpu.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <sstream>

using namespace gpu_test;
using namespace moray::rt::cuda;

[[noreturn]] static void die(const std::string &sentence) {
  std::fprintf(stderr, "%s\n", sentence.c_str());
  std::exit(1);
}

Gpu &Gpu::get() {
  static Gpu instance;
  return instance;
}

Gpu::Gpu() {
  const char *named = std::getenv("MORAY_CUDA_LIBRARY");
  setenv("MORAY_GPUSIM_SM", "89", /*replace=*/0); // the kernels with fp8 units ask for sm_89
  void *library = dlopen(named ? named : GPUSIM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    die(dlerror());
#define LOAD(member, symbol, result, parameters)                                                                       \
  table.member = reinterpret_cast<decltype(table.member)>(dlsym(library, #symbol));                                    \
  if (!table.member)                                                                                                   \
    die(std::string("the driver lacks ") + #symbol);
  MORAY_CUDA_SYMBOLS(LOAD)
#undef LOAD
  Device device = 0;
  Context context = nullptr;
  Result result = table.init(0);
  if (result == kSuccess)
    result = table.deviceGet(&device, 0);
  if (result == kSuccess)
    result = table.primaryCtxRetain(&context, device);
  if (result == kSuccess)
    result = table.ctxSetCurrent(context);
  if (result != kSuccess)
    die("no CUDA context: " + describe(result));
  reportCount = reinterpret_cast<size_t (*)()>(dlsym(library, "moray_gpusim_report_count"));
}

size_t Gpu::close() {
  for (auto &[name, module] : modules)
    table.moduleUnload(module);
  modules.clear();
  table.primaryCtxRelease(0);
  return reportCount ? reportCount() : 0;
}

namespace {
/// The kernels of this folder are clean: nothing may be reported, and nothing may be left behind.
struct NoReports : testing::Environment {
  void TearDown() override { EXPECT_EQ(Gpu::get().close(), 0u) << "reports of the simulator, see above"; }
};
[[maybe_unused]] testing::Environment *const noReports = testing::AddGlobalTestEnvironment(new NoReports);
} // namespace

std::string Gpu::describe(Result result) const {
  const char *name = nullptr, *text = nullptr;
  table.getErrorName(result, &name);
  table.getErrorString(result, &text);
  return std::string(name ? name : "?") + " (" + std::to_string(result) + "): " + (text ? text : "?");
}

Module Gpu::module(const std::string &name) {
  for (auto &[known, module] : modules)
    if (known == name)
      return module;
  const char *folder = std::getenv("MORAY_NVCC_KERNELS"); // where the source tree is not
  std::ifstream stream(std::string(folder ? folder : MORAY_SOURCE_DIR "/test/gpusim/nvcc/kernels") + "/" + name +
                       ".ptx");
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream)
    die("cannot read " + name + ".ptx");
  char log[4096] = "";
  JitOption options[] = {kErrorLogBuffer, kErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log))};
  Module module = nullptr;
  Result result = table.moduleLoadDataEx(&module, text.str().c_str(), 2, options, values);
  EXPECT_EQ(result, kSuccess) << name << ".ptx: " << describe(result) << "\n" << log;
  modules.emplace_back(name, module);
  return module;
}

Launch::Launch(const std::string &file, const std::string &kernel, Shape grid, Shape block, unsigned sharedBytes)
    : file(file), kernel(kernel), grid(grid), block(block), sharedBytes(sharedBytes) {}

Launch::~Launch() {
  for (Argument &argument : arguments)
    if (argument.address)
      Gpu::get().driver().memFree(argument.address);
}

bool Launch::check(Result result, const char *what) {
  if (result == kSuccess)
    return true;
  if (!failed)
    ADD_FAILURE() << file << ".ptx, " << kernel << ": " << what << ": " << Gpu::get().describe(result);
  failed = true;
  return false;
}

Launch &Launch::buffer(const void *contents, size_t bytes) {
  const DriverTable &driver = Gpu::get().driver();
  Argument argument;
  argument.bytes = bytes;
  if (check(driver.memAlloc(&argument.address, bytes), "allocation") && contents &&
      check(driver.memcpyHtoDAsync(argument.address, contents, bytes, nullptr), "copy to the device"))
    check(driver.streamSynchronize(nullptr), "copy to the device");
  argument.bits.resize(sizeof(Address));
  std::memcpy(argument.bits.data(), &argument.address, sizeof(Address));
  arguments.push_back(std::move(argument));
  return *this;
}

Launch &Launch::scalar(const void *contents, size_t bytes) {
  Argument argument;
  argument.bits.resize(bytes);
  std::memcpy(argument.bits.data(), contents, bytes);
  arguments.push_back(std::move(argument));
  return *this;
}

bool Launch::run() {
  const DriverTable &driver = Gpu::get().driver();
  Module module = Gpu::get().module(file);
  Function function = nullptr;
  if (failed || !module || !check(driver.moduleGetFunction(&function, module, kernel.c_str()), "look-up"))
    return false;
  if (sharedBytes > 48 << 10 &&
      !check(driver.funcSetAttribute(function, kMaxDynamicSharedBytes, int(sharedBytes)), "shared memory"))
    return false;
  std::vector<void *> pointers;
  for (Argument &argument : arguments)
    pointers.push_back(argument.bits.data());
  return check(driver.launchKernel(function, grid.x, grid.y, grid.z, block.x, block.y, block.z, sharedBytes, nullptr,
                                   pointers.data(), nullptr),
               "launch") &&
         check(driver.streamSynchronize(nullptr), "run");
}

bool Launch::read(size_t index, void *to) {
  const DriverTable &driver = Gpu::get().driver();
  const Argument &argument = arguments[index];
  return !failed && check(driver.memcpyDtoHAsync(to, argument.address, argument.bytes, nullptr), "copy to the host") &&
         check(driver.streamSynchronize(nullptr), "copy to the host");
}
