// Tests of the simulated driver: devices, contexts, memory, copies, modules, launches, faults and leaks.
#include "test/Unit/GpuSim/driver_fixture.h"

#include "test/gpusim/memory/global_memory.h"

#include <atomic>
#include <cstring>
#include <thread>

namespace gpusim {
namespace {

using Words = std::vector<uint32_t>;

TEST(GlobalMemory, NamesStrayAddresses) {
  GlobalMemory memory(1 << 20);
  uint64_t first = memory.allocate(100), second = memory.allocate(4096, "table");
  EXPECT_EQ(0u, first % GlobalMemory::alignment);
  EXPECT_GE(second, first + 100 + GlobalMemory::gap);
  EXPECT_EQ(AccessKind::Inside, memory.resolve(first + 96, 4).kind);
  EXPECT_EQ(AccessKind::OutOfBounds, memory.resolve(first + 97, 4).kind);
  EXPECT_EQ(AccessKind::OutOfBounds, memory.resolve(first + 104, 4).kind);
  EXPECT_EQ(AccessKind::OutOfBounds, memory.resolve(~0ull - 2, 8).kind);
  EXPECT_EQ(AccessKind::Null, memory.resolve(8, 4).kind);
  EXPECT_NE(std::string::npos,
            memory.describe(first + 97, 4).find("4 bytes from byte 97 cross the end of allocation #1"));
  EXPECT_NE(std::string::npos, memory.describe(first + 104, 4).find("4 bytes past the end of the allocation #1, 100"));
  EXPECT_NE(std::string::npos, memory.describe(second - 8, 4).find("8 bytes before the table #2, 4096 bytes"));
  EXPECT_EQ("a null pointer", memory.describe(0, 4));
  EXPECT_NE(std::string::npos, memory.describe(0x7fff00000000, 4).find("a host pointer"));
  EXPECT_NE(std::string::npos, memory.describe(first - 16, 4).find("16 bytes before the allocation #1"));
  EXPECT_EQ(0u, memory.allocate((1 << 20) - 4095)); // above the limit
  EXPECT_TRUE(memory.release(first));
  EXPECT_FALSE(memory.release(first));
  EXPECT_FALSE(memory.release(second + 512));
  EXPECT_EQ(AccessKind::UseAfterFree, memory.resolve(first, 4).kind);
  EXPECT_NE(std::string::npos, memory.describe(first, 4).find("released allocation #1"));
  EXPECT_GT(memory.allocate(100), second); // addresses are not used again
  EXPECT_EQ(4196u, memory.usedBytes());
}

TEST(GlobalMemory, IsLookedUpByManyThreads) {
  GlobalMemory memory;
  std::vector<uint64_t> addresses;
  for (int i = 0; i < 64; ++i)
    addresses.push_back(memory.allocate(64));
  auto touch = [&](unsigned seed) {
    for (unsigned i = 0; i < 20000; ++i)
      if (HostRange range = memory.resolve(addresses[(i * 7 + seed) % 64] + seed, 1); range.bytes)
        *range.defined = 1;
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed)
    threads.emplace_back(touch, seed);
  for (int i = 0; i < 100; ++i)
    memory.release(memory.allocate(64));
  for (std::thread &thread : threads)
    thread.join();
  for (uint64_t address : addresses)
    EXPECT_EQ(0x01010101u, *reinterpret_cast<uint32_t *>(memory.resolve(address, 4).defined));
}

TEST_F(DriverTest, EveryEntryPointIsExported) {
#define GPUSIM_CHECK(name, parameters) EXPECT_NE(nullptr, reinterpret_cast<void *>(name)) << #name;
  GPUSIM_ENTRY_POINTS(GPUSIM_CHECK)
#undef GPUSIM_CHECK
}

TEST_F(DriverTest, OrderOfInitialisation) {
  int value = 0;
  CUcontext context = nullptr;
  CUdeviceptr address = 0;
  EXPECT_CU(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&value));
  EXPECT_CU(CUDA_SUCCESS, cuDriverGetVersion(&value));
  EXPECT_EQ(13000, value);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuInit(1));
  ASSERT_CU(CUDA_SUCCESS, cuInit(0));
  EXPECT_CU(CUDA_SUCCESS, cuDeviceGetCount(&value));
  EXPECT_EQ(1, value);
  EXPECT_CU(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&value, 1));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&address, 4));
  ASSERT_CU(CUDA_SUCCESS, cuDevicePrimaryCtxRetain(&context, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&address, 4)) << "retaining does not make it current";
  ASSERT_CU(CUDA_SUCCESS, cuCtxPushCurrent_v2(context));
  std::thread([&] { EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize()); }).join();
  EXPECT_CU(CUDA_SUCCESS, cuCtxSynchronize());
  EXPECT_CU(CUDA_SUCCESS, cuDevicePrimaryCtxRelease_v2(0));
  EXPECT_CU(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxSynchronize());
  EXPECT_CU(CUDA_SUCCESS, cuCtxPopCurrent_v2(&context));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cuCtxPopCurrent_v2(&context));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
  EXPECT_EQ(0u, reportCount());
}

TEST_F(DriverTest, NoDevice) {
  setVariable("MORAY_GPUSIM_DEVICES", "0");
  EXPECT_CU(CUDA_ERROR_NO_DEVICE, cuInit(0));
}

TEST_F(DriverTest, AttributesFollowTheDevice) {
  struct {
    const char *name;
    int major, minor, optIn;
  } cases[] = {{"80", 8, 0, 163 << 10}, {"86", 8, 6, 99 << 10}, {"89", 8, 9, 99 << 10}, {"90", 9, 0, 227 << 10}};
  for (auto &expected : cases) {
    setVariable("MORAY_GPUSIM_SM", expected.name);
    reset();
    begin();
    auto attribute = [&](int which) {
      int value = -1;
      EXPECT_CU(CUDA_SUCCESS, cuDeviceGetAttribute(&value, which, 0));
      return value;
    };
    EXPECT_EQ(expected.major, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
    EXPECT_EQ(expected.minor, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
    EXPECT_EQ(expected.optIn, attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
    EXPECT_EQ(48 << 10, attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK));
    EXPECT_EQ(32, attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE));
    EXPECT_EQ(1024, attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
    end();
  }
  int value = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&value, 0, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&value, 1, 1));
  char name[64];
  size_t total = 0;
  EXPECT_CU(CUDA_SUCCESS, cuDeviceGetName(name, sizeof name, 0));
  EXPECT_STREQ("Moray GPU simulator sm_90", name);
  EXPECT_CU(CUDA_SUCCESS, cuDeviceTotalMem_v2(&total, 0));
  EXPECT_EQ(size_t(8) << 30, total);
}

TEST_F(DriverTest, AllocationsAndTheirLimit) {
  setVariable("MORAY_GPUSIM_MEMORY", "1M");
  begin();
  CUdeviceptr address = 0, other = 0;
  size_t free = 0, total = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&address, 0));
  ASSERT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&address, 1000000));
  EXPECT_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&other, 100000));
  EXPECT_CU(CUDA_SUCCESS, cuMemGetInfo_v2(&free, &total));
  EXPECT_EQ((1u << 20) - 1000000u, free);
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(address));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(address));
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(0));
  EXPECT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&other, 100000)) << "out of memory is not the end";
  EXPECT_EQ(1000000u, counter(GPUSIM_PEAK_BYTES));
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(other));
  EXPECT_EQ(1u, reportCount()) << "of the second cuMemFree";
}

TEST_F(DriverTest, RangesOfCopiesAreChecked) {
  begin();
  CUdeviceptr address = allocate({1, 2, 3, 4});
  uint32_t host[8] = {};
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, address, 20));
  EXPECT_NE(std::string::npos, allReports().find("cuMemcpyDtoH, source")) << allReports();
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(address + 12, host, 8));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(address + 2, 0, 1)) << "misaligned";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(address, 0, 17));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host, 4));
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32_v2(address + 4, 9, 2));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoD_v2(address, address + 8, 4));
  EXPECT_EQ((Words{9, 9, 9, 4}), read(address, 4));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyAsync(reinterpret_cast<CUdeviceptr>(host), address, 16, nullptr));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(nullptr));
  EXPECT_EQ(4u, host[3]);
}

TEST_F(DriverTest, UninitialisedBytesDoNotReachTheHost) {
  begin();
  CUdeviceptr from = 0, to = 0;
  uint32_t host[4] = {5, 5, 5, 5};
  ASSERT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&from, 16));
  ASSERT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&to, 16));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoD_v2(from, host, 8));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoD_v2(to, from, 16)) << "a copy carries what is known";
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoH_v2(host, to, 8));
  EXPECT_CU(CUDA_ERROR_LAUNCH_FAILED, cuMemcpyDtoH_v2(host, to, 12));
  EXPECT_NE(std::string::npos, allReports().find("4 of them never written; the first is byte 8 of allocation #2"))
      << allReports();
  EXPECT_EQ(5u, host[2]);
  EXPECT_CU(CUDA_ERROR_LAUNCH_FAILED, cuCtxSynchronize()) << "the error stays";
  end();
  setVariable("MORAY_GPUSIM_ALLOW_UNINIT", "1");
  reset();
  begin();
  ASSERT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&from, 16));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoH_v2(host, from, 16));
}

TEST_F(DriverTest, PinnedMemory) {
  begin();
  void *pinned = nullptr;
  std::vector<char> own(4096);
  ASSERT_CU(CUDA_SUCCESS, cuMemHostAlloc(&pinned, 100, 0));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(pinned, 8, 0));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(pinned));
  EXPECT_CU(CUDA_SUCCESS, cuMemFreeHost(pinned));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(pinned));
  EXPECT_CU(CUDA_SUCCESS, cuMemHostRegister_v2(own.data(), own.size(), 0));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(own.data() + 100, 1, 0));
  EXPECT_CU(CUDA_SUCCESS, cuMemHostUnregister(own.data()));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(own.data()));
  end();
  EXPECT_EQ(0u, reportCount());
}

TEST_F(DriverTest, CopiesHappenWhenSomebodyWaits) {
  begin();
  CUdeviceptr address = allocate({1});
  CUstream stream = nonBlockingStream();
  void *memory = nullptr;
  ASSERT_CU(CUDA_SUCCESS, cuMemHostAlloc(&memory, 8, 0));
  uint32_t *pinned = static_cast<uint32_t *>(memory), pageable = 30, result = 0;
  pinned[0] = 10;
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoDAsync_v2(address, pinned, 4, stream));
  pinned[0] = 20; // too early: the copy has not read its source
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoHAsync_v2(&result, address, 4, stream));
  EXPECT_EQ(0u, result) << "nobody has waited";
  EXPECT_CU(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
  while (cuStreamQuery(stream) == CUDA_ERROR_NOT_READY)
    std::this_thread::yield();
  EXPECT_CU(CUDA_SUCCESS, cuStreamQuery(stream));
  EXPECT_EQ(20u, result);
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoDAsync_v2(address, &pageable, 4, stream));
  pageable = 40; // harmless: the driver has staged it
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoHAsync_v2(&result, address, 4, stream));
  EXPECT_EQ(Words{20}, read(address, 1)) << "a non-blocking stream does not order itself with the default stream";
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(30u, result);
}

TEST_F(DriverTest, BlockingStreamsAndTheDefaultStreamWaitForEachOther) {
  begin();
  CUdeviceptr address = allocate({1});
  CUstream stream = nullptr;
  ASSERT_CU(CUDA_SUCCESS, cuStreamCreate(&stream, CU_STREAM_DEFAULT));
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32Async(address, 5, 1, stream));
  EXPECT_EQ(Words{5}, read(address, 1));
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32_v2(address, 6, 1));
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), address, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(Words{7}, read(address, 1));
}

TEST_F(DriverTest, EventsOrderStreams) {
  begin();
  CUdeviceptr address = allocate({3});
  CUfunction addOne = kernel("add_one"), twice = kernel("twice");
  CUstream first = nonBlockingStream(), second = nonBlockingStream();
  CUevent done = event();
  EXPECT_CU(CUDA_SUCCESS, cuEventQuery(done)) << "never recorded";
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, first));
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(done, first));
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, first)); // after the event
  EXPECT_CU(CUDA_SUCCESS, cuStreamWaitEvent(second, done, 0));
  EXPECT_CU(CUDA_SUCCESS, launch(twice, address, 1, second));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(second));
  EXPECT_EQ(Words{8}, read(address, 1)) << "(3 + 1) * 2: only what the event covers has run";
  EXPECT_CU(CUDA_SUCCESS, cuEventQuery(done));
  EXPECT_CU(CUDA_SUCCESS, cuCtxSynchronize());
  EXPECT_EQ(Words{9}, read(address, 1));
  // Without an event the younger stream comes first.
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, first));
  EXPECT_CU(CUDA_SUCCESS, launch(twice, address, 1, second));
  EXPECT_CU(CUDA_SUCCESS, cuCtxSynchronize());
  EXPECT_EQ(Words{19}, read(address, 1));
}

TEST_F(DriverTest, EventsMeasureTime) {
  begin();
  CUdeviceptr address = allocate({0});
  CUevent start = nullptr, end = nullptr;
  float milliseconds = -1;
  ASSERT_CU(CUDA_SUCCESS, cuEventCreate(&start, 0));
  ASSERT_CU(CUDA_SUCCESS, cuEventCreate(&end, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&milliseconds, start, end)) << "not recorded";
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(start, nullptr));
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), address, 1));
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(end, nullptr));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cuEventElapsedTime_v2(&milliseconds, start, end));
  EXPECT_CU(CUDA_SUCCESS, cuEventSynchronize(end));
  EXPECT_CU(CUDA_SUCCESS, cuEventElapsedTime_v2(&milliseconds, start, end));
  EXPECT_GT(milliseconds, 0);
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&milliseconds, start, event())) << "without timing";
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(reinterpret_cast<CUevent>(nonBlockingStream()), nullptr));
}

TEST_F(DriverTest, QueriesDoNotWaitForHostFunctions) {
  begin();
  std::atomic<bool> open{false};
  auto wait = [](void *flag) {
    while (!*static_cast<std::atomic<bool> *>(flag))
      std::this_thread::yield();
  };
  CUdeviceptr address = allocate({1}), other = allocate({7});
  CUstream stream = nonBlockingStream();
  CUevent before = event(), after = event();
  CUfunction addOne = kernel("add_one");
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(before, stream));
  EXPECT_CU(CUDA_SUCCESS, cuLaunchHostFunc(stream, wait, &open));
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(after, stream));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
  EXPECT_CU(CUDA_SUCCESS, cuEventSynchronize(before)) << "what stands before the function has run";
  EXPECT_CU(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cuEventQuery(after));
  EXPECT_EQ(Words{7}, read(other, 1)) << "other calls work meanwhile";
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 1, stream)); // joins the work in progress
  open = true;
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_CU(CUDA_SUCCESS, cuEventQuery(after));
  EXPECT_EQ(Words{4}, read(address, 1));
}

TEST_F(DriverTest, HostFunctionsRunInOrderAndMayNotCallBack) {
  begin();
  struct State {
    const DriverTable *table;
    uint32_t seen;
    uint32_t *value;
    CUresult answer;
  };
  uint32_t value = 0;
  State state = {this, 0, &value, CUDA_SUCCESS};
  CUdeviceptr address = allocate({41});
  CUstream stream = nonBlockingStream();
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), address, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoHAsync_v2(&value, address, 4, stream));
  auto call = [](void *data) {
    State &state = *static_cast<State *>(data);
    state.seen = *state.value;
    state.answer = state.table->cuCtxSynchronize();
  };
  EXPECT_CU(CUDA_SUCCESS, cuLaunchHostFunc(stream, call, &state));
  EXPECT_EQ(0u, state.seen);
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(42u, state.seen);
  EXPECT_CU(CUDA_ERROR_NOT_PERMITTED, state.answer);
}

TEST_F(DriverTest, ImagesThatAreRefused) {
  begin();
  CUmodule loaded = nullptr;
  auto refuse = [&](CUresult expected, const std::string &text) {
    char log[256] = "", info[16] = "x";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
                     CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, reinterpret_cast<void *>(sizeof log), info, reinterpret_cast<void *>(sizeof info)};
    EXPECT_CU(expected, cuModuleLoadDataEx(&loaded, text.c_str(), 4, options, values)) << text;
    EXPECT_EQ(strlen(log), reinterpret_cast<size_t>(values[1]));
    EXPECT_STREQ("", info);
    return std::string(log);
  };
  refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "\177ELF\2\1\1");
  refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "\x50\xED\x55\xBA");
  refuse(CUDA_ERROR_INVALID_IMAGE, "\1\2\3");
  refuse(CUDA_ERROR_INVALID_IMAGE, "");
  std::string head = ".version 7.0\n.target sm_80\n.address_size 64\n";
  std::string log = refuse(CUDA_ERROR_INVALID_PTX, head + ".visible .entry f()\n{\n  frobnicate.u32 %r1;\n}\n");
  EXPECT_NE(std::string::npos, log.find("6")) << "the line: " << log;
  log = refuse(CUDA_ERROR_INVALID_PTX, "// made by hand\n.version 8.0\n.target sm_90\n.address_size 64\n");
  EXPECT_NE(std::string::npos, log.find("higher than that of the device, sm_80")) << log;
  refuse(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, ".version 9.9\n.target sm_80\n.address_size 64\n");
  refuse(CUDA_ERROR_INVALID_PTX, head + ".visible .entry f()\n{\n  ret;\n"); // cut
  EXPECT_CU(CUDA_SUCCESS, cuCtxSynchronize()) << "none of these is sticky";
  end();
  setVariable("MORAY_GPUSIM_DRIVER", "11040");
  setVariable("MORAY_GPUSIM_SM", "90");
  reset();
  begin();
  refuse(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, ".version 7.5\n.target sm_80\n.address_size 64\n");
  refuse(CUDA_ERROR_INVALID_PTX, ".version 7.4\n.target sm_86a\n.address_size 64\n");
  EXPECT_CU(CUDA_SUCCESS, cuModuleLoadData(&loaded, ".version 7.4\n.target sm_80\n.address_size 64\n"));
}

TEST_F(DriverTest, ModulesFunctionsAndVariables) {
  begin();
  CUmodule loaded = load();
  CUfunction function = nullptr, again = nullptr;
  CUdeviceptr address = 0;
  size_t bytes = 0;
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, loaded, "add_two"));
  ASSERT_CU(CUDA_SUCCESS, cuModuleGetFunction(&function, loaded, "add_one"));
  ASSERT_CU(CUDA_SUCCESS, cuModuleGetFunction(&again, loaded, "add_one"));
  EXPECT_EQ(function, again);
  ASSERT_CU(CUDA_SUCCESS, cuModuleGetGlobal_v2(&address, &bytes, loaded, "seven"));
  EXPECT_EQ(4u, bytes);
  EXPECT_EQ(Words{7}, read(address, 1));
  ASSERT_CU(CUDA_SUCCESS, cuModuleGetGlobal_v2(&address, &bytes, loaded, "blank"));
  EXPECT_EQ(12u, bytes);
  EXPECT_EQ((Words{0, 0, 0}), read(address, 3)) << "variables without a value are zero";
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal_v2(&address, &bytes, loaded, "eight"));
  size_t offset = 9;
  EXPECT_CU(CUDA_SUCCESS, cuFuncGetParamInfo(function, 1, &offset, &bytes));
  EXPECT_EQ(8u, offset);
  EXPECT_EQ(4u, bytes);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(function, 2, &offset, &bytes));
  EXPECT_CU(CUDA_SUCCESS, cuModuleUnload(loaded));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(loaded));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, launch(function, 0, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(address, 0, 4)) << "variables go with their module";
}

TEST_F(DriverTest, FunctionAttributes) {
  begin();
  CUfunction function = kernel("with_shared");
  auto attribute = [&](int which) {
    int value = -1;
    EXPECT_CU(CUDA_SUCCESS, cuFuncGetAttribute(&value, which, function));
    return value;
  };
  EXPECT_EQ(64, attribute(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  EXPECT_EQ(1024, attribute(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
  EXPECT_EQ(47 << 10, attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
  EXPECT_EQ(80, attribute(CU_FUNC_ATTRIBUTE_PTX_VERSION));
  int most = 162 << 10, blocks = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE,
            cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most + 1));
  EXPECT_CU(CUDA_SUCCESS, cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most));
  EXPECT_EQ(most, attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
  EXPECT_CU(CUDA_SUCCESS, cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 64, size_t(most)));
  EXPECT_EQ(1, blocks);
  EXPECT_CU(CUDA_SUCCESS, cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 65, 0));
  EXPECT_EQ(0, blocks);
}

TEST_F(DriverTest, LimitsOfLaunches) {
  begin();
  CUfunction addOne = kernel("add_one"), shared = kernel("with_shared"), exactly = kernel("exactly_32");
  CUdeviceptr data = allocate({1});
  uint32_t count = 1;
  void *params[] = {&data, &count};
  auto run = [&](CUfunction function, unsigned gridY, unsigned threads, unsigned dynamic, void **values) {
    return cuLaunchKernel(function, 1, gridY, 1, threads, 1, 1, dynamic, nullptr, values, nullptr);
  };
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 0, 32, 0, params));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 65536, 32, 0, params));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 1, 0, 0, params));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 1, 1025, 0, params));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 1, 32, (48 << 10) + 1, params));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(addOne, 1, 32, 0, nullptr)) << "no parameters";
  EXPECT_CU(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, run(shared, 1, 65, 0, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(shared, 1, 64, 47 * 1024 + 4, nullptr));
  EXPECT_CU(CUDA_SUCCESS, run(shared, 1, 1, 47 * 1024, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, run(exactly, 1, 64, 0, nullptr));
  EXPECT_CU(CUDA_SUCCESS, run(exactly, 1, 32, 0, nullptr));
  struct {
    CUdeviceptr data;
    uint32_t count;
  } packed = {data, 1};
  size_t bytes = 12;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  EXPECT_CU(CUDA_SUCCESS, cuLaunchKernel(addOne, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
  bytes = 8;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(addOne, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_CU(CUDA_SUCCESS, cuCtxSynchronize());
  EXPECT_EQ(Words{2}, read(data, 1));
  EXPECT_EQ(3u, counter(GPUSIM_DIRECT_LAUNCHES));
  EXPECT_EQ(3u, counter(GPUSIM_KERNELS_RUN));
}

TEST_F(DriverTest, FaultsAreSticky) {
  begin();
  CUdeviceptr address = allocate(Words(8, 1)), other = 0;
  CUfunction addOne = kernel("add_one");
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, address, 9)) << "the fault shows when somebody waits";
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  EXPECT_EQ(1u, reportCount());
  for (const char *part : {"add_one", "allocation #"})
    EXPECT_NE(std::string::npos, allReports().find(part)) << allReports();
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc_v2(&other, 4));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, launch(addOne, address, 1));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFree_v2(address));
  CUcontext context = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuCtxGetCurrent(&context));
  end();
  EXPECT_EQ(1u, reportCount()) << "no leaks are counted after a fault";
  begin(); // a new context works
  address = allocate({1});
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), address, 1));
  EXPECT_EQ(Words{2}, read(address, 1));
}

TEST_F(DriverTest, KindsOfFaults) {
  setVariable("MORAY_GPUSIM_BUDGET", "10000");
  // `offset`: of the array's address; a null pointer if negative.
  auto run = [&](const char *name, int offset) {
    begin();
    CUdeviceptr address = offset < 0 ? 0 : allocate({1, 2}) + CUdeviceptr(offset);
    EXPECT_CU(CUDA_SUCCESS, launch(kernel(name), address, 1));
    CUresult result = cuCtxSynchronize();
    end();
    return result;
  };
  EXPECT_CU(CUDA_ERROR_LAUNCH_FAILED, run("stop", -1));
  EXPECT_CU(CUDA_ERROR_LAUNCH_TIMEOUT, run("spin", -1));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, run("add_one", -1));
  EXPECT_CU(CUDA_ERROR_MISALIGNED_ADDRESS, run("add_one", 2));
  EXPECT_EQ(4u, reportCount());
}

TEST_F(DriverTest, LeaksAreReported) {
  begin();
  CUevent leftEvent = event();
  CUstream leftStream = nonBlockingStream();
  CUdeviceptr left = allocate({1}), freed = allocate({1});
  load();
  CUgraph graph = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuStreamBeginCapture_v2(leftStream, CU_CAPTURE_RELAXED));
  EXPECT_CU(CUDA_SUCCESS, cuStreamEndCapture(leftStream, &graph));
  void *pinned = nullptr;
  EXPECT_CU(CUDA_SUCCESS, cuMemAllocHost_v2(&pinned, 8));
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(freed));
  EXPECT_NE(0u, left);
  EXPECT_NE(nullptr, leftEvent);
  end();
  std::string text = allReports();
  EXPECT_EQ(6u, reportCount()) << text;
  for (const char *part : {"allocation #1, 4 bytes", "1 stream(s)", "1 event(s)", "1 module(s)", "1 graph(s)",
                           "8 bytes of pinned host memory were never freed"})
    EXPECT_NE(std::string::npos, text.find(part)) << part << " in\n" << text;
}

TEST_F(DriverTest, TheProcessEndsWithTheCodeAskedFor) {
  auto leave = [&](bool clean) {
    begin();
    if (clean)
      end();
    exit(0);
  };
  setVariable("MORAY_GPUSIM_EXIT_CODE", "9");
  EXPECT_EXIT(leave(false), ::testing::ExitedWithCode(9), "the primary context was never released");
  setVariable("MORAY_GPUSIM_STATS", "1");
  EXPECT_EXIT(leave(true), ::testing::ExitedWithCode(0), "counters: direct-launches=0 .* reports=0");
}

} // namespace
} // namespace gpusim
