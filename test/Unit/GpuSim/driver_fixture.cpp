// Loading of the simulator and the steps that its tests share.
#include "test/Unit/GpuSim/driver_fixture.h"

#include <cstdio>

namespace gpusim {

const char *const testModule = R"(.version 7.0
.target sm_80
.address_size 64

.visible .global .align 4 .u32 seven = 7;
.visible .global .align 4 .b8 blank[12];

.visible .entry add_one(.param .u64 data, .param .u32 count)
{
  .reg .pred %p<2>;
  .reg .b32 %r<8>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [data];
  ld.param.u32 %r1, [count];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra DONE;
  mul.wide.u32 %rd2, %r5, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.u32 %r6, [%rd3];
  add.s32 %r7, %r6, 1;
  st.global.u32 [%rd3], %r7;
DONE:
  ret;
}

.visible .entry twice(.param .u64 data, .param .u32 count)
{
  .reg .pred %p<2>;
  .reg .b32 %r<8>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [data];
  ld.param.u32 %r1, [count];
  mov.u32 %r5, %tid.x;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra DONE;
  mul.wide.u32 %rd2, %r5, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.u32 %r6, [%rd3];
  add.s32 %r7, %r6, %r6;
  st.global.u32 [%rd3], %r7;
DONE:
  ret;
}

.visible .entry with_shared()
.maxntid 64, 1, 1
{
  .shared .align 4 .b8 tile[1024];
  .reg .b32 %r<2>;
  mov.u32 %r1, 0;
  st.shared.u32 [tile], %r1;
  ret;
}

.visible .entry exactly_32()
.reqntid 32, 1, 1
{
  ret;
}

.visible .entry stop()
{
  trap;
}

.visible .entry spin()
{
AGAIN:
  bra AGAIN;
}
)";

namespace {

void *loadLibrary() {
  void *library = dlopen(MORAY_BINARY_DIR "/lib/libmoray_gpusim.so", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return library;
}

DriverTable loadTable() {
  void *library = loadLibrary();
  DriverTable table;
#define GPUSIM_LOAD(name, parameters) table.name = reinterpret_cast<entry::name *>(dlsym(library, #name));
  GPUSIM_ENTRY_POINTS(GPUSIM_LOAD)
#undef GPUSIM_LOAD
  table.counters = reinterpret_cast<decltype(table.counters)>(dlsym(library, "moray_gpusim_counters"));
  table.reports = reinterpret_cast<decltype(table.reports)>(dlsym(library, "moray_gpusim_reports"));
  table.reportCount = reinterpret_cast<decltype(table.reportCount)>(dlsym(library, "moray_gpusim_report_count"));
  table.reset = reinterpret_cast<decltype(table.reset)>(dlsym(library, "moray_gpusim_reset"));
  return table;
}

} // namespace

const DriverTable &driverTable() {
  static DriverTable table = loadTable();
  return table;
}

std::string errorName(CUresult error) {
  const char *name = nullptr;
  driverTable().cuGetErrorName(error, &name);
  return name ? name : "error " + std::to_string(error);
}

void DriverTest::SetUp() { reset(); }

void DriverTest::TearDown() {
  cuCtxSetCurrent(nullptr);
  reset();
  for (const std::string &name : variables)
    unsetenv(name.c_str());
}

void DriverTest::setVariable(const char *name, const char *value) {
  setenv(name, value, 1);
  variables.push_back(name);
}

void DriverTest::begin() {
  CUcontext context = nullptr;
  ASSERT_CU(CUDA_SUCCESS, cuInit(0));
  ASSERT_CU(CUDA_SUCCESS, cuDevicePrimaryCtxRetain(&context, 0));
  ASSERT_CU(CUDA_SUCCESS, cuCtxSetCurrent(context));
}

void DriverTest::end() {
  cuCtxSetCurrent(nullptr);
  module = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuDevicePrimaryCtxRelease_v2(0));
}

CUmodule DriverTest::load(const char *text) {
  CUmodule loaded = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuModuleLoadData(&loaded, text));
  return loaded;
}

CUfunction DriverTest::kernel(const char *name) {
  if (!module)
    module = load();
  CUfunction function = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuModuleGetFunction(&function, module, name));
  return function;
}

CUdeviceptr DriverTest::allocate(const std::vector<uint32_t> &values) {
  CUdeviceptr address = 0;
  EXPECT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&address, values.size() * 4));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoD_v2(address, values.data(), values.size() * 4));
  return address;
}

std::vector<uint32_t> DriverTest::read(CUdeviceptr address, size_t count) {
  std::vector<uint32_t> values(count, 0xDEAD);
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoH_v2(values.data(), address, count * 4));
  return values;
}

CUresult DriverTest::launch(CUfunction function, CUdeviceptr data, uint32_t count, CUstream stream) {
  void *params[] = {&data, &count};
  return cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params, nullptr);
}

CUstream DriverTest::nonBlockingStream() {
  CUstream stream = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  return stream;
}

CUevent DriverTest::event() {
  CUevent made = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuEventCreate(&made, CU_EVENT_DISABLE_TIMING));
  return made;
}

CUgraphExec DriverTest::finishCapture(CUstream stream) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuStreamEndCapture(stream, &graph));
  EXPECT_CU(CUDA_SUCCESS, cuGraphInstantiateWithFlags(&exec, graph, 0));
  EXPECT_CU(CUDA_SUCCESS, cuGraphDestroy(graph));
  return exec;
}

uint64_t DriverTest::counter(int which) {
  uint64_t values[GPUSIM_COUNTERS] = {};
  EXPECT_EQ(size_t(GPUSIM_COUNTERS), counters(values, GPUSIM_COUNTERS));
  return values[which];
}

std::string DriverTest::allReports() {
  std::vector<char> text(reports(nullptr, 0));
  reports(text.data(), text.size());
  return text.data();
}

} // namespace gpusim
