// Tests of the simulated driver's captures and graphs.
#include "test/Unit/GpuSim/driver_fixture.h"

#include <functional>
#include <thread>

namespace gpusim {
namespace {

using Words = std::vector<uint32_t>;

class CaptureTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    begin();
    addOne = kernel("add_one");
    twice = kernel("twice");
    data = allocate({1});
    stream = nonBlockingStream();
    other = nonBlockingStream();
    fork = event();
    join = event();
  }

  void beginCapture(int mode = CU_CAPTURE_GLOBAL) { ASSERT_CU(CUDA_SUCCESS, cuStreamBeginCapture_v2(stream, mode)); }
  void expectEnd(CUresult expected) {
    CUgraph graph = nullptr;
    EXPECT_CU(expected, cuStreamEndCapture(stream, &graph));
    EXPECT_EQ(expected == CUDA_SUCCESS, graph != nullptr);
    int status = -1;
    EXPECT_CU(CUDA_SUCCESS, cuStreamIsCapturing(stream, &status));
    EXPECT_EQ(CU_CAPTURE_NONE, status);
    if (graph)
      EXPECT_CU(CUDA_SUCCESS, cuGraphDestroy(graph));
  }
  // Draws `other` into the capture of `stream`.
  void forkStream() {
    EXPECT_CU(CUDA_SUCCESS, cuEventRecord(fork, stream));
    EXPECT_CU(CUDA_SUCCESS, cuStreamWaitEvent(other, fork, 0));
  }
  void joinStream() {
    EXPECT_CU(CUDA_SUCCESS, cuEventRecord(join, other));
    EXPECT_CU(CUDA_SUCCESS, cuStreamWaitEvent(stream, join, 0));
  }

  CUfunction addOne = nullptr, twice = nullptr;
  CUdeviceptr data = 0;
  CUstream stream = nullptr, other = nullptr;
  CUevent fork = nullptr, join = nullptr;
};

TEST_F(CaptureTest, GraphsRunAgainAndAgain) {
  uint32_t result = 0, one = 1;
  CUdeviceptr address = data;
  void *params[] = {&address, &one};
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, cuLaunchKernel(addOne, 1, 1, 1, 32, 1, 1, 0, stream, params, nullptr));
  address = one = 0; // the values were taken
  EXPECT_CU(CUDA_SUCCESS, launch(twice, data, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoHAsync_v2(&result, data, 4, stream));
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32Async(data, 50, 1, stream));
  CUgraphExec exec = finishCapture(stream);
  EXPECT_EQ(0u, counter(GPUSIM_KERNELS_RUN)) << "capturing runs nothing";
  EXPECT_CU(CUDA_SUCCESS, cuGraphUpload(exec, stream));
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_EQ(0u, result);
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(4u, result);
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(102u, result);
  EXPECT_EQ(0u, counter(GPUSIM_DIRECT_LAUNCHES));
  EXPECT_EQ(2u, counter(GPUSIM_GRAPH_LAUNCHES));
  EXPECT_EQ(2u, counter(GPUSIM_LAST_GRAPH_KERNELS));
  EXPECT_EQ(4u, counter(GPUSIM_LAST_GRAPH_NODES));
  EXPECT_EQ(4u, counter(GPUSIM_KERNELS_RUN));
  EXPECT_CU(CUDA_SUCCESS, cuGraphExecDestroy(exec));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuGraphLaunch(exec, stream));
}

TEST_F(CaptureTest, NodesTellWhatTheyAre) {
  CUgraph graph = nullptr;
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, launch(twice, data, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32Async(data, 50, 1, stream));
  ASSERT_CU(CUDA_SUCCESS, cuStreamEndCapture(stream, &graph));
  size_t count = 0;
  EXPECT_CU(CUDA_SUCCESS, cuGraphGetNodes(graph, nullptr, &count));
  ASSERT_EQ(2u, count);
  CUgraphNode nodes[2];
  EXPECT_CU(CUDA_SUCCESS, cuGraphGetNodes(graph, nodes, &count));
  int type = -1;
  EXPECT_CU(CUDA_SUCCESS, cuGraphNodeGetType(nodes[1], &type));
  EXPECT_EQ(CU_GRAPH_NODE_TYPE_MEMSET, type);
  EXPECT_CU(CUDA_SUCCESS, cuGraphNodeGetType(nodes[0], &type));
  EXPECT_EQ(CU_GRAPH_NODE_TYPE_KERNEL, type);
  CUDA_KERNEL_NODE_PARAMS_v2 params;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuGraphKernelNodeGetParams_v2(nodes[1], &params));
  ASSERT_CU(CUDA_SUCCESS, cuGraphKernelNodeGetParams_v2(nodes[0], &params));
  EXPECT_EQ(twice, params.func);
  EXPECT_EQ(32u, params.blockDimX);
  EXPECT_EQ(data, *static_cast<CUdeviceptr *>(params.kernelParams[0]));
  EXPECT_CU(CUDA_SUCCESS, cuGraphDestroy(graph));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cuGraphNodeGetType(nodes[0], &type));
}

TEST_F(CaptureTest, HostFunctionsAreNodes) {
  int calls = 0;
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuLaunchHostFunc(stream, [](void *count) { ++*static_cast<int *>(count); }, &calls));
  CUgraphExec exec = finishCapture(stream);
  EXPECT_EQ(0, calls);
  for (int i = 0; i < 3; ++i)
    EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(3, calls);
  EXPECT_CU(CUDA_SUCCESS, cuGraphExecDestroy(exec));
}

TEST_F(CaptureTest, CallsThatMayWaitAreForbidden) {
  CUdeviceptr address = 0;
  CUmodule loaded = nullptr;
  CUfunction function = nullptr;
  uint32_t word = 0;
  void *pinned = nullptr;
  std::pair<const char *, std::function<CUresult()>> calls[] = {
      {"cuMemAlloc", [&] { return cuMemAlloc_v2(&address, 4); }},
      {"cuMemFree", [&] { return cuMemFree_v2(data); }},
      {"cuMemHostAlloc", [&] { return cuMemHostAlloc(&pinned, 4, 0); }},
      {"cuModuleLoadData", [&] { return cuModuleLoadData(&loaded, testModule); }},
      {"cuModuleGetFunction", [&] { return cuModuleGetFunction(&function, module, "stop"); }},
      {"cuCtxSynchronize", [&] { return cuCtxSynchronize(); }},
      {"cuStreamSynchronize", [&] { return cuStreamSynchronize(stream); }},
      {"cuStreamQuery", [&] { return cuStreamQuery(stream); }},
      {"cuEventQuery", [&] { return cuEventQuery(fork); }},
      {"cuMemcpyDtoH", [&] { return cuMemcpyDtoH_v2(&word, data, 4); }},
  };
  for (auto &[name, call] : calls) {
    beginCapture();
    EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call()) << name;
    int status = 0;
    EXPECT_CU(CUDA_SUCCESS, cuStreamIsCapturing(stream, &status));
    EXPECT_EQ(CU_CAPTURE_INVALIDATED, status) << name;
    EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, launch(addOne, data, 1, stream)) << name;
    expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(data)) << "the capture is over, and the call had no effect";
}

TEST_F(CaptureTest, ModesSayWhoIsForbidden) {
  CUdeviceptr address = 0;
  CUcontext context = nullptr;
  cuCtxGetCurrent(&context);
  auto elsewhere = [&](int mode) {
    CUresult result = CUDA_SUCCESS;
    std::thread([&] {
      cuCtxSetCurrent(context);
      cuThreadExchangeStreamCaptureMode(&mode);
      result = cuMemAlloc_v2(&address, 4);
    }).join();
    return result;
  };
  beginCapture(CU_CAPTURE_GLOBAL);
  EXPECT_CU(CUDA_SUCCESS, elsewhere(CU_CAPTURE_THREAD_LOCAL));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, elsewhere(CU_CAPTURE_GLOBAL));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  beginCapture(CU_CAPTURE_THREAD_LOCAL);
  EXPECT_CU(CUDA_SUCCESS, elsewhere(CU_CAPTURE_GLOBAL));
  CUresult result = CUDA_SUCCESS;
  CUgraph graph = nullptr;
  std::thread([&] {
    cuCtxSetCurrent(context);
    result = cuStreamEndCapture(stream, &graph);
  }).join();
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, result);
  expectEnd(CUDA_SUCCESS);
  beginCapture(CU_CAPTURE_RELAXED);
  EXPECT_CU(CUDA_SUCCESS, cuMemAlloc_v2(&address, 4));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(other));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(stream));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_F(CaptureTest, ForkAndJoin) {
  CUdeviceptr second = allocate({10});
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, stream));
  forkStream();
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyDtoDAsync_v2(second, data, 4, other));
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, second, 1, other));
  joinStream();
  EXPECT_CU(CUDA_SUCCESS, launch(twice, second, 1, stream));
  CUgraphExec exec = finishCapture(stream);
  int status = -1;
  EXPECT_CU(CUDA_SUCCESS, cuStreamIsCapturing(other, &status));
  EXPECT_EQ(CU_CAPTURE_NONE, status);
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(Words{2}, read(data, 1));
  EXPECT_EQ(Words{6}, read(second, 1)); // (1 + 1 + 1) * 2
}

TEST_F(CaptureTest, WorkWithoutDependencyRunsInAnotherOrder) {
  beginCapture();
  forkStream();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, launch(twice, data, 1, other)); // should have waited for add_one
  joinStream();
  CUgraphExec exec = finishCapture(stream);
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_SUCCESS, cuStreamSynchronize(stream));
  EXPECT_EQ(Words{3}, read(data, 1)) << "1 * 2 + 1";
}

TEST_F(CaptureTest, CapturesThatCannotEnd) {
  beginCapture();
  forkStream();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, other));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_UNJOINED);

  beginCapture();
  forkStream();
  CUgraph graph = nullptr;
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(other, &graph));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

  EXPECT_CU(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(stream, &graph));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(nullptr, CU_CAPTURE_GLOBAL));
  beginCapture();
  EXPECT_CU(CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture_v2(stream, CU_CAPTURE_GLOBAL));
  expectEnd(CUDA_SUCCESS);
}

TEST_F(CaptureTest, CapturesDoNotMixWithOtherWork) {
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(join, other));
  beginCapture();
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(stream, join, 0));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(fork, stream));
  ASSERT_CU(CUDA_SUCCESS, cuStreamBeginCapture_v2(other, CU_CAPTURE_GLOBAL));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_MERGE, cuStreamWaitEvent(other, fork, 0));
  CUgraph graph = nullptr;
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(other, &graph));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

  beginCapture(CU_CAPTURE_RELAXED);
  EXPECT_CU(CUDA_SUCCESS, cuEventRecord(fork, stream));
  EXPECT_CU(CUDA_ERROR_CAPTURED_EVENT, cuEventSynchronize(fork));
  expectEnd(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_CU(CUDA_ERROR_CAPTURED_EVENT, cuStreamWaitEvent(other, fork, 0));
}

TEST_F(CaptureTest, TheDefaultStreamWouldWaitForABlockingStream) {
  CUstream blocking = nullptr;
  CUgraph graph = nullptr;
  ASSERT_CU(CUDA_SUCCESS, cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  ASSERT_CU(CUDA_SUCCESS, cuStreamBeginCapture_v2(blocking, CU_CAPTURE_RELAXED));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, launch(addOne, data, 1));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &graph));
  beginCapture(CU_CAPTURE_RELAXED); // a non-blocking stream does not mind
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1));
  expectEnd(CUDA_SUCCESS);
}

TEST_F(CaptureTest, FaultsInsideGraphsAreNamed) {
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, stream));
  CUgraphExec exec = finishCapture(stream);
  EXPECT_CU(CUDA_SUCCESS, cuMemFree_v2(data));
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, allReports().find("add_one")) << allReports();
  EXPECT_NE(std::string::npos, allReports().find("allocation #")) << allReports();
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuGraphExecDestroy(exec));
}

TEST_F(CaptureTest, KernelsOfUnloadedModulesAreNamed) {
  beginCapture();
  EXPECT_CU(CUDA_SUCCESS, launch(addOne, data, 1, stream));
  CUgraphExec exec = finishCapture(stream);
  EXPECT_CU(CUDA_SUCCESS, cuModuleUnload(module));
  EXPECT_CU(CUDA_SUCCESS, cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, allReports().find("launch of kernel add_one, whose module was unloaded"));
}

} // namespace
} // namespace gpusim
