// Runs PTX text on the simulator's core, with device buffers as vectors.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "test/gpusim/exec/launch.h"
#include "test/gpusim/memory/global_memory.h"

namespace gpusim {

// A device with one module. Arguments of kernels are 64-bit addresses and 32-bit numbers, laid out by their sizes.
class Sim {
public:
  explicit Sim(const std::string &body, unsigned sm = 80, const std::string &version = "8.0") {
    std::string text = ".version " + version + "\n.target sm_" + std::to_string(sm) + "\n.address_size 64\n" + body;
    module = parseModule(text, deviceModel(sm), memory, error);
    options.threads = 1;
  }

  template <class T> uint64_t upload(const std::vector<T> &data, const std::string &label = "buffer") {
    uint64_t address = memory.allocate(data.size() * sizeof(T), label);
    HostRange range = memory.resolve(address, data.size() * sizeof(T));
    std::memcpy(range.bytes, data.data(), data.size() * sizeof(T));
    std::memset(range.defined, 1, data.size() * sizeof(T));
    return address;
  }
  uint64_t buffer(uint64_t bytes, const std::string &label = "buffer") { return memory.allocate(bytes, label); }
  template <class T> std::vector<T> download(uint64_t address, size_t count) {
    std::vector<T> data(count);
    std::memcpy(data.data(), memory.resolve(address, count * sizeof(T)).bytes, count * sizeof(T));
    return data;
  }

  template <class... Args> std::optional<Report> run(const std::string &name, Dim3 grid, Dim3 block, Args... args) {
    EXPECT_TRUE(module) << error.str();
    const Kernel *kernel = module ? module->findKernel(name) : nullptr;
    if (!kernel)
      return Report{};
    LaunchConfig launch;
    launch.grid = grid;
    launch.block = block;
    launch.dynamicShared = dynamicShared;
    (append(launch.params, args), ...);
    return runKernel(*kernel, memory, launch, options);
  }

  GlobalMemory memory;
  ParseError error;
  std::unique_ptr<Module> module;
  ExecOptions options;
  uint32_t dynamicShared = 0;

private:
  template <class T> static void append(std::vector<uint8_t> &params, T value) {
    params.resize((params.size() + sizeof(T) - 1) / sizeof(T) * sizeof(T) + sizeof(T));
    std::memcpy(params.data() + params.size() - sizeof(T), &value, sizeof(T));
  }
};

// A kernel with one pointer parameter in %out (generic), the thread's number in %t and these registers declared.
inline std::string kernel(const std::string &body, const std::string &name = "k", const std::string &before = "") {
  return before + ".visible .entry " + name +
         "(.param .u64 out)\n{\n.reg .pred %p<10>;\n.reg .b16 %h<10>;\n.reg .b32 %r<40>;\n.reg .f32 %f<20>;\n"
         ".reg .b64 %rd<20>;\n.reg .b32 %t;\n.reg .b64 %out, %mine;\nld.param.u64 %out, [out];\nmov.u32 %t, "
         "%tid.x;\n"
         "mad.wide.u32 %mine, %t, 4, %out;\n" +
         body + "\n}\n";
}

inline void expectClean(const std::optional<Report> &report) { EXPECT_FALSE(report) << report->text(); }

// The report is of this kind and at the PTX line that contains `at`.
inline void expectReport(const std::optional<Report> &report, Report::Kind kind, const std::string &at) {
  ASSERT_TRUE(report) << "no report";
  EXPECT_EQ(report->kind, kind) << report->text();
  EXPECT_NE(report->instruction.find(at), std::string::npos) << report->text();
}

} // namespace gpusim
