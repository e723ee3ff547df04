//===- ProbeTest.cpp - the probe kernels on GPUs --------------------------------------===//
// Each task reports the work that its symbols ask for, in its own 64 bytes.

#include "OnGpu.h"

using namespace moray::codegen;
using namespace moray::test;

TEST(GpuProbe, ReportsWork) {
  const uint64_t tasks = 3, bytes = 9 * 4096, iterations = 2;
  std::vector<KernelSpec> specs;
  for (const auto &probe : probeKernels())
    specs.push_back(probe.second);
  GpuRunner gpu(specs, *findGpuTarget("cuda:sm_80"));
  Random random(1);
  std::vector<uint32_t> data;
  for (uint64_t i = 0; i < tasks * bytes / 4; ++i)
    data.push_back(uint32_t(random.bits()) & 0x3FFF3FFF); // bf16 pairs without infinities
  const uint64_t work[] = {bytes * iterations, iterations * 256 * 8 * 8 * 4096};
  EXPECT_NE(std::string::npos, gpu.ptx(0).find("ld.global.v4.b32"));
  EXPECT_NE(std::string::npos, gpu.ptx(1).find("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"));
  for (size_t kernel = 0; kernel < specs.size(); ++kernel) {
    Buffer from = bufferOf(data), sink = bufferOf(std::vector<uint64_t>(tasks * 8));
    EXPECT_EQ(0u, gpu.run(kernel, {from, sink}, {tasks, bytes, 0, 0, 0, tasks, 0, 0, 0}, iterations));
    for (uint64_t t = 0; t < tasks; ++t)
      EXPECT_EQ(work[kernel], sink.data<uint64_t>()[t * 8]);
  }
}

TEST(GpuProbe, ReadsEveryByte) {
  const uint64_t bytes = 9 * 4096;
  GpuRunner gpu({probeKernels()[0].second}, *findGpuTarget("cuda:sm_80"));
  auto checksum = [&](uint64_t changed) {
    std::vector<uint32_t> data(bytes / 4, 0);
    data[changed] = 0x01010101;
    Buffer from = bufferOf(data), sink = bufferOf(std::vector<uint32_t>(16));
    gpu.run(0, {from, sink}, {1, bytes, 0, 0, 0, 1, 0, 0, 0}, 1);
    uint32_t sum = 0;
    for (int warp = 0; warp < 8; ++warp)
      sum += sink.data<uint32_t>()[8 + warp];
    return sum;
  };
  for (uint64_t place : {uint64_t(0), uint64_t(1023), uint64_t(1024 * 8), bytes / 4 - 1})
    EXPECT_EQ(0x01010101u, checksum(place)) << place;
}
